#include "services/ingress/pickup/pickup_mail.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/mail/address.h"

namespace postfleet::ingress {
namespace {

bool HasEightBit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

// For the log: one line.
std::string Printable(std::string text) {
  for (char& c : text) {
    if ((c >= 0 && c < ' ') || c == 127) c = '?';
  }
  return text;
}

void ReadRewriting(const config::Config& config, PickupConfig* pickup) {
  message::AddressRewriting rules = {
      .origin = config.GetString("myorigin"),
      .domain = config.GetString("mydomain"),
      .append_at_origin = config.GetBool("append_at_myorigin"),
      .append_dot_domain = config.GetBool("append_dot_mydomain"),
      .swap_bangpath = config.GetBool("swap_bangpath"),
      .percent_hack = config.GetBool("allow_percent_hack"),
      .tokens_max = static_cast<size_t>(config.GetInt("header_address_token_limit"))};
  pickup->local_rewriting = rules;
  rules.origin = rules.domain = config.GetString("remote_header_rewrite_domain");
  pickup->rewrite_remote_headers = !rules.origin.empty();
  pickup->remote_rewriting = std::move(rules);
}

}  // namespace

absl::StatusOr<PickupConfig> PickupConfig::From(const config::Config& config) {
  PickupConfig pickup;
  pickup.myhostname = config.GetString("myhostname");
  pickup.mail_name = config.GetString("mail_name");
  ReadRewriting(config, &pickup);
  pickup.always_add_missing_headers = config.GetBool("always_add_missing_headers");
  pickup.full_name_as_comment = config.GetString("header_from_format") == "obsolete";
  pickup.undisclosed_recipients_header = config.GetString("undisclosed_recipients_header");
  pickup.empty_address_recipient = config.GetString("empty_address_recipient");
  pickup.drop_headers = config.GetList("message_drop_headers");
  for (std::string& name : pickup.drop_headers) mail::LowerCaseAscii(&name);
  pickup.header_size_limit = static_cast<size_t>(config.GetSize("header_size_limit"));
  pickup.hopcount_limit = static_cast<int>(config.GetInt("hopcount_limit"));
  pickup.replace_stray_cr = config.GetBool("cleanup_replace_stray_cr_lf");
  pickup.smtputf8 = config.GetBool("smtputf8_enable");
  const std::vector<std::string> classes = config.GetList("smtputf8_autodetect_classes");
  pickup.detect_smtputf8 = std::any_of(classes.begin(), classes.end(), [](const auto& word) {
    return word == "sendmail" || word == "all";
  });
  absl::StatusOr<ContentRules> rules = ContentRules::From(config);
  if (!rules.ok()) return rules.status();
  pickup.content_rules = *std::move(rules);
  return pickup;
}

PickupMail::PickupMail(const PickupConfig& config, std::string queue_id, uint32_t owner,
                       int64_t arrival_ms, const message::MailTime& time)
    : config_(config),
      queue_id_(std::move(queue_id)),
      owner_(owner),
      arrival_ms_(arrival_ms),
      time_(time) {}

// The envelope is known, the contents begin.
void PickupMail::Begin() {
  sender_ = message::CompleteSender(config_.local_rewriting, mail::SplitAddress(envelope().sender));
  const bool is_remote = envelope().is_remote;
  message::CleanupOptions options = config_.content_rules.cleanup;
  options.drop_headers = config_.drop_headers;
  options.header_bytes_max = config_.header_size_limit;
  options.hop_count_max = config_.hopcount_limit;
  options.replace_stray_cr = config_.replace_stray_cr;
  options.mailbox_lines = message::CleanupOptions::MailboxLines::kRename;
  if (!is_remote) {
    options.rewriting = &config_.local_rewriting;
  } else if (config_.rewrite_remote_headers) {
    options.rewriting = &config_.remote_rewriting;
  }
  if (options.rewriting != nullptr || config_.always_add_missing_headers) {
    options.missing =
        message::MissingFields{.queue_id = queue_id_,
                               .myhostname = config_.myhostname,
                               .sender = sender_,
                               .full_name = envelope().full_name,
                               .full_name_as_comment = config_.full_name_as_comment,
                               .undisclosed_recipients = config_.undisclosed_recipients_header,
                               .time = time_};
  }
  cleanup_ = std::make_unique<message::Cleanup>(
      std::move(options), message::FormatLocalReceived(config_.myhostname, config_.mail_name,
                                                       queue_id_, owner_, time_));
}

absl::Status PickupMail::Take(std::string_view bytes, std::vector<Part>* parts) {
  text_.clear();
  if (absl::Status taken = reader_.Take(bytes, &text_); !taken.ok()) return taken;
  if (!reader_.envelope_known()) return absl::OkStatus();
  if (cleanup_ == nullptr) Begin();
  cleanup_->Append(text_, &chunk_);
  if (absl::Status good = CheckContents(); !good.ok()) return good;
  if (chunk_.size() >= config_.chunk_bytes) parts->push_back(MakePart());
  return absl::OkStatus();
}

absl::Status PickupMail::CheckContents() const {
  if (cleanup_->too_many_hops()) {
    return absl::InvalidArgumentError("message rejected: hopcount exceeded");
  }
  if (const auto defect = cleanup_->defect()) {
    return absl::InvalidArgumentError(Concat("message rejected: ", message::DefectText(*defect)));
  }
  return absl::OkStatus();
}

PickupMail::Part PickupMail::MakePart() {
  Part part;
  part.content = std::exchange(chunk_, {});
  part.submission.set_queue_id(queue_id_);
  part.submission.set_chunk(chunks_++);
  part.submission.set_payload_bytes(static_cast<uint32_t>(part.content.size()));
  part.submission.set_payload_crc32c(Crc32c(part.content));
  bytes_ += part.content.size();
  lines_ += static_cast<uint64_t>(std::count(part.content.begin(), part.content.end(), '\n'));
  return part;
}

absl::Status PickupMail::Finish(std::vector<Part>* parts) {
  if (absl::Status whole = reader_.Finish(); !whole.ok()) return whole;
  cleanup_->Finish(&chunk_);
  if (absl::Status good = CheckContents(); !good.ok()) return good;
  Part last = MakePart();
  finished_ = true;
  queue::v1::NewMessage* message = last.submission.mutable_message();
  message->set_content_bytes(bytes_);
  mail::v1::Envelope* out = message->mutable_envelope();
  const maildrop::Envelope& in = envelope();
  out->set_sender(sender_);
  out->set_arrival_ms(arrival_ms_);
  const bool says_8bit = config_.content_rules.detect_8bit && cleanup_->says_8bit();
  out->set_body_8bitmime(in.body_8bit || says_8bit);
  out->set_body_7bit(in.body_7bit && !says_8bit);
  out->set_content_lines(lines_);
  out->mutable_origin()->set_source(in.is_remote ? "REMOTE" : "LOCAL");
  out->set_dsn_return(static_cast<mail::v1::Envelope::Return>(in.dsn_return));
  out->set_dsn_envid(in.envelope_id);
  out->set_trace(in.wants_trace);
  out->set_probe(in.wants_probe);
  out->set_verp_delimiters(in.verp);
  AddRecipients(message);
  const bool header_8bit = cleanup_->header_has_8bit();
  const bool needs_utf8 =
      header_8bit || HasEightBit(sender_) ||
      std::any_of(message->recipients().begin(), message->recipients().end(),
                  [](const auto& recipient) { return HasEightBit(recipient.address()); });
  const bool smtputf8 = config_.smtputf8 && config_.detect_smtputf8 && needs_utf8;
  out->set_smtputf8(smtputf8);
  out->set_smtputf8_requested(smtputf8);
  out->set_smtputf8_header(smtputf8 && header_8bit);
  parts->push_back(std::move(last));
  return absl::OkStatus();
}

void PickupMail::AddRecipients(queue::v1::NewMessage* message) const {
  absl::flat_hash_set<std::string> seen;
  for (const maildrop::Recipient& given : envelope().recipients) {
    const std::string& said =
        given.address.empty() ? config_.empty_address_recipient : given.address;
    std::string address =
        message::CompleteAddress(config_.local_rewriting, mail::SplitAddress(said));
    // Said twice is meant once (cleanup's duplicate filter).
    if (!seen.insert(mail::LowerCasedAscii(Concat(address, '\n', given.address, '\n', given.notify,
                                                  '\n', given.original)))
             .second) {
      continue;
    }
    mail::v1::Recipient* recipient = message->add_recipients();
    recipient->set_dsn_orcpt(given.original);
    if (given.address != address) {
      recipient->set_original_address(given.address);
      // As Postfix: notices name what a local user meant, the log what he said.
      if (given.original.empty()) recipient->set_dsn_orcpt(Concat("rfc822;", address));
    }
    recipient->set_address(std::move(address));
    recipient->set_dsn_notify(given.notify);
  }
}

std::vector<maillog::Line> PickupMail::TakeNotes() {
  std::vector<maillog::Line> lines;
  if (cleanup_ == nullptr) return lines;
  for (message::CleanupNote& note : cleanup_->TakeNotes()) {
    if (note.kind == message::CleanupNote::kDefect) continue;
    const bool resent = note.kind == message::CleanupNote::kResentMessageId;
    lines.push_back(maillog::Line::Of(
        maillog::Fact("queue_id", queue_id_), ": ", resent ? "resent-" : "", "message-id=",
        maillog::Fact(resent ? "resent_message_id" : "message_id", Printable(std::move(note.text))),
        maillog::Event("message_id")));
  }
  return lines;
}

}  // namespace postfleet::ingress
