// A mail of maildrop on its way into the queue: what pickup(8) and cleanup(8) do to mail of local
// origin.
//
//   Received: by HOST (Postfix, from userid N)     with the queue id and the file's time
//   header completed, missing fields added         unless `sendmail -G` was said
//   recipients completed, each once                those of the header, too
//
// Pure: bytes of the file come in, submissions for the queue go out (chunks, then the one with the
// message), and lines for the log. Errors say why it is no mail that can be taken: nothing of it
// has been made visible then.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/log_line.h"
#include "libs/config/config.h"
#include "libs/maildrop/submission.h"
#include "libs/message/address_rewriting.h"
#include "libs/message/cleanup.h"
#include "libs/message/received.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/ingress/core/content_rules.h"

namespace postfleet::ingress {

struct PickupConfig {
  std::string myhostname = "localhost";
  std::string mail_name = "Postfix";
  message::AddressRewriting local_rewriting = {.origin = "localhost", .domain = "localdomain"};
  message::AddressRewriting remote_rewriting;
  bool rewrite_remote_headers = false;
  bool always_add_missing_headers = false;
  bool full_name_as_comment = false;  // header_from_format = obsolete
  std::string undisclosed_recipients_header;
  std::string empty_address_recipient = "MAILER-DAEMON";
  std::vector<std::string> drop_headers = {"bcc", "content-length", "resent-bcc", "return-path"};
  size_t header_size_limit = 102'400;
  int hopcount_limit = 50;
  bool replace_stray_cr = true;
  bool smtputf8 = true;         // smtputf8_enable
  bool detect_smtputf8 = true;  // smtputf8_autodetect_classes has sendmail or all
  ContentRules content_rules;
  size_t chunk_bytes = 128 * 1024;

  // `config` has the overrides of the service pickup.
  static absl::StatusOr<PickupConfig> From(const config::Config& config);
};

class PickupMail {
 public:
  // One step of handing it over; `submission` lacks its id.
  struct Part {
    queue::v1::Submission submission;
    std::string content;
  };

  // `config` outlives it. `owner` is the user whose the file is, `time` when it was written.
  PickupMail(const PickupConfig& config, std::string queue_id, uint32_t owner, int64_t arrival_ms,
             const message::MailTime& time);

  // Bytes of the file, and its end.
  absl::Status Take(std::string_view bytes, std::vector<Part>* parts);
  absl::Status Finish(std::vector<Part>* parts);

  const std::string& queue_id() const { return queue_id_; }
  const maildrop::Envelope& envelope() const { return reader_.envelope(); }
  // The envelope has been read: it may be said whose mail it is.
  bool known() const { return cleanup_ != nullptr; }
  // What cleanup logs, since the last call; without the queue id.
  std::vector<maillog::Line> TakeNotes();
  // There are parts before the one with the message.
  bool has_chunks() const { return chunks_ > (finished_ ? 1u : 0u); }

 private:
  void Begin();
  absl::Status CheckContents() const;
  Part MakePart();
  void AddRecipients(queue::v1::NewMessage* message) const;

  const PickupConfig& config_;
  const std::string queue_id_;
  const uint32_t owner_;
  const int64_t arrival_ms_;
  const message::MailTime time_;
  maildrop::SubmissionReader reader_;
  std::string sender_;  // completed
  std::unique_ptr<message::Cleanup> cleanup_;
  std::string text_;  // contents that cleanup has not seen
  std::string chunk_;
  uint32_t chunks_ = 0;
  bool finished_ = false;
  uint64_t bytes_ = 0;
  uint64_t lines_ = 0;
};

}  // namespace postfleet::ingress
