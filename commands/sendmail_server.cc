#include "commands/sendmail_server.h"

#include <poll.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "commands/postdrop_rights.h"
#include "commands/sendmail_postdrop.h"
#include "libs/base/clock.h"
#include "libs/base/concat.h"
#include "libs/maildrop/record.h"
#include "libs/message/received.h"
#include "libs/smtp/command.h"
#include "libs/smtp/data_reader.h"
#include "libs/smtp/line_reader.h"
#include "libs/smtp/reply.h"

namespace postfleet::commands {
namespace {

using smtp::Verb;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kContentBytes = 32 * 1024;
constexpr std::string_view kClientName = "localhost";
constexpr std::string_view kClientAddress = "127.0.0.1";
constexpr uint32_t kReturnFull = 1;
constexpr uint32_t kReturnHeader = 2;

struct Limits {
  uint64_t message_bytes_max = 0;
  size_t line_bytes_max = 0;
  size_t recipients_max = 0;
  int errors_max = 0;
  std::chrono::milliseconds read_max{0};

  static Limits From(const config::Config& config) {
    return {.message_bytes_max = static_cast<uint64_t>(config.GetSize("message_size_limit")),
            .line_bytes_max = static_cast<size_t>(config.GetInt("line_length_limit")),
            .recipients_max = static_cast<size_t>(config.GetInt("smtpd_recipient_limit")),
            .errors_max = static_cast<int>(config.GetInt("smtpd_hard_error_limit")),
            .read_max = absl::ToChronoMilliseconds(config.GetTime("smtpd_timeout"))};
  }
};

class Dialogue {
 public:
  Dialogue(const config::Config& config, Console& console)
      : config_(config),
        console_(console),
        limits_(Limits::From(config)),
        myhostname_(config.GetString("myhostname")),
        lines_(limits_.line_bytes_max),
        bytes_(kReadBytes, '\0') {}

  int Run() {
    Answer(smtp::Reply(220, config_.GetString("smtpd_banner")));
    smtp::Line line;
    while (!over_) {
      const auto result = lines_.Next(&unread_, &line);
      if (result == smtp::LineReader::kLine) {
        Obey(line.text);
      } else if (result == smtp::LineReader::kFlood) {
        return EX_OK;
      } else if (!Read()) {
        break;
      }
    }
    return Send() ? EX_OK : EX_IOERR;
  }

 private:
  // False: there is no more, or not in time.
  bool Read() {
    if (!Send()) return false;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&input, 1, static_cast<int>(limits_.read_max.count()));
    if (ready == 0) Say(421, "4.4.2", Concat(myhostname_, " Error: timeout exceeded"));
    if (ready <= 0) return ready < 0 && errno == EINTR;
    const ssize_t size = read(STDIN_FILENO, bytes_.data(), bytes_.size());
    if (size <= 0) return size < 0 && errno == EINTR;
    unread_ = std::string_view(bytes_).substr(0, static_cast<size_t>(size));
    return true;
  }

  bool Send() {
    const bool sent = console_.Write(unsent_) && std::fflush(stdout) == 0;
    unsent_.clear();
    return sent;
  }

  void Answer(const smtp::Reply& reply) {
    smtp::FormatReply(reply, &unsent_);
    if (reply.code < 400 || ++errors_ < limits_.errors_max) return;
    smtp::FormatReply(smtp::Reply(421, Concat("4.7.0 ", myhostname_, " Error: too many errors")),
                      &unsent_);
    over_ = true;
  }
  void Say(int code, std::string_view status, std::string_view text) {
    Answer(smtp::Reply(code, Concat(status, " ", text)));
  }

  void Obey(std::string_view line) {
    const smtp::Command command = smtp::ParseCommand(line);
    switch (command.verb) {
      case Verb::kHelo:
      case Verb::kEhlo:
        return Greet(command);
      case Verb::kMail:
        return Mail(command.arguments);
      case Verb::kRcpt:
        return Rcpt(command.arguments);
      case Verb::kData:
        return Data(command.arguments);
      case Verb::kRset:
        Forget();
        return Say(250, "2.0.0", "Ok");
      case Verb::kNoop:
        return Say(250, "2.0.0", "Ok");
      case Verb::kVrfy:
        return Verify(command.arguments);
      case Verb::kHelp:
        return Say(214, "2.0.0", "HELO EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT");
      case Verb::kQuit:
        over_ = true;
        return Say(221, "2.0.0", "Bye");
      default:
        return Say(500, "5.5.2", "Error: command not recognized");
    }
  }

  void Greet(const smtp::Command& command) {
    const bool extended = command.verb == Verb::kEhlo;
    if (command.arguments.empty()) {
      return Answer(smtp::Reply(501, Concat("Syntax: ", command.name, " hostname")));
    }
    Forget();
    helo_ = command.arguments;
    extended_ = extended;
    if (!extended) return Answer(smtp::Reply(250, myhostname_));
    smtp::Reply reply(250, myhostname_);
    reply.lines.insert(reply.lines.end(),
                       {"PIPELINING", Concat("SIZE ", limits_.message_bytes_max), "VRFY",
                        "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"});
    Answer(reply);
  }

  void Mail(std::string_view arguments) {
    if (mail_) return Say(503, "5.5.1", "Error: nested MAIL command");
    smtp::MailCommand mail;
    if (const auto bad = smtp::ParseMail(arguments, {}, &mail)) return Answer(*bad);
    if (limits_.message_bytes_max > 0 && mail.size_bytes > limits_.message_bytes_max) {
      return Say(552, "5.3.4", "Message size exceeds fixed limit");
    }
    mail_ = std::move(mail);
    Say(250, "2.1.0", "Ok");
  }

  void Rcpt(std::string_view arguments) {
    if (!mail_) return Say(503, "5.5.1", "Error: need MAIL command");
    smtp::RcptCommand recipient;
    if (const auto bad = smtp::ParseRcpt(arguments, {}, mail_->smtputf8, &recipient)) {
      return Answer(*bad);
    }
    if (recipients_.size() >= limits_.recipients_max) {
      return Say(452, "4.5.3", "Error: too many recipients");
    }
    recipients_.push_back(std::move(recipient));
    Say(250, "2.1.5", "Ok");
  }

  void Verify(std::string_view arguments) {
    smtp::RcptCommand recipient;
    const bool bad =
        arguments.empty() || smtp::ParseRcpt(Concat("TO:<", arguments, ">"), {}, true, &recipient);
    if (bad) return Say(501, "5.5.4", "Syntax: VRFY address");
    Say(252, "2.0.0", recipient.recipient_text);
  }

  void Data(std::string_view arguments) {
    if (recipients_.empty()) {
      if (!mail_) return Say(503, "5.5.1", "Error: need RCPT command");
      return Say(554, "5.5.1", "Error: no valid recipients");
    }
    if (!arguments.empty()) return Say(501, "5.5.4", "Syntax: DATA");
    absl::StatusOr<PostdropProcess> postdrop = PostdropProcess::Start(config_.directory());
    const std::string queue_id = postdrop.ok() ? postdrop->QueueId() : "";
    if (queue_id.empty()) {
      Forget();
      return Say(451, "4.3.0", "Error: queue file write error");
    }
    Answer(smtp::Reply(354, "End data with <CR><LF>.<CR><LF>"));
    postdrop->Write(Envelope(queue_id));
    if (!PassOn(*postdrop)) {
      over_ = true;
      return;
    }
    postdrop->Write(End());
    Finish(queue_id, postdrop->Commit());
  }

  void Finish(const std::string& queue_id, const absl::Status& status) {
    Forget();
    if (status.ok()) return Say(250, "2.0.0", Concat("Ok: queued as ", queue_id));
    if (absl::IsOutOfRange(status)) return Say(552, "5.3.4", "Error: message file too big");
    if (absl::IsPermissionDenied(status)) {
      return Say(550, "5.7.1", std::string(status.message()));
    }
    Say(451, "4.3.0", "Error: queue file write error");
  }

  static void Add(maildrop::RecordType type, std::string_view data, std::string* records) {
    maildrop::AppendRecord(type, data.substr(0, maildrop::kRecordBytesMax), records);
  }

  std::string Envelope(const std::string& queue_id) {
    std::string records;
    const auto attribute = [&records](std::string_view name, const auto& value) {
      Add(maildrop::kAttribute, Concat(name, "=", value), &records);
    };
    attribute("rewrite_context", "local");
    if (!mail_->envid.empty()) attribute("envelope_id", mail_->envid);
    if (!mail_->ret.empty()) {
      attribute("ret_flags", mail_->ret == "FULL" ? kReturnFull : kReturnHeader);
    }
    if (mail_->body != smtp::Body::kUnspecified) {
      attribute("encoding", mail_->body == smtp::Body::k7Bit ? "7bit" : "8bit");
    }
    Add(maildrop::kSender, mail_->sender.ToString(), &records);
    for (const smtp::RcptCommand& recipient : recipients_) {
      if (!recipient.orcpt.empty()) attribute("dsn_orig_rcpt", recipient.orcpt);
      if (recipient.notify != 0) attribute("notify_flags", recipient.notify);
      Add(maildrop::kRecipient, recipient.recipient.ToString(), &records);
    }
    Add(maildrop::kContents, "", &records);
    AddLines(Received(queue_id), &records);
    return records;
  }

  std::string Received(const std::string& queue_id) const {
    const std::time_t now = SystemClock().WallMicros() / 1'000'000;
    std::tm local{};
    localtime_r(&now, &local);
    return message::FormatSmtpReceived(
        {.helo_name = helo_,
         .client_name = kClientName,
         .client_address = kClientAddress,
         .myhostname = myhostname_,
         .mail_name = config_.GetString("mail_name"),
         .protocol = message::ProtocolName(extended_, false, false, mail_->smtputf8),
         .queue_id = queue_id,
         .recipient = recipients_.size() == 1 ? recipients_[0].recipient_text : std::string(),
         .time = {.seconds = now,
                  .utc_offset_seconds = static_cast<int>(local.tm_gmtoff),
                  .zone = local.tm_zone}});
  }

  // False: the dialogue is over before the message is.
  bool PassOn(PostdropProcess& postdrop) {
    smtp::DataReader reader;
    std::string content(kContentBytes, '\0');
    std::string line, records;
    while (true) {
      while (unread_.empty()) {
        if (!Read()) return false;
      }
      const auto progress = reader.Read(unread_, content.data(), content.size());
      unread_.remove_prefix(progress.consumed);
      line.append(content, 0, progress.produced);
      CutLines(&line, &records);
      postdrop.Write(records);
      records.clear();
      if (reader.done()) return true;
    }
  }

  // What of `*rest` is whole lines, or too long for one record.
  void CutLines(std::string* rest, std::string* records) const {
    size_t from = 0;
    while (true) {
      const size_t end = std::min(rest->find('\n', from), rest->size());
      const bool whole = end < rest->size();
      if (!whole && end - from < limits_.line_bytes_max) break;
      const size_t size = std::min(end - from, limits_.line_bytes_max);
      const bool ends = whole && size == end - from;
      maildrop::AppendRecord(ends ? maildrop::kText : maildrop::kTextPart,
                             std::string_view(*rest).substr(from, size), records);
      from += size + (ends ? 1 : 0);
    }
    rest->erase(0, from);
  }

  void AddLines(std::string lines, std::string* records) const { CutLines(&lines, records); }

  static std::string End() {
    std::string records;
    Add(maildrop::kExtracted, "", &records);
    Add(maildrop::kEnd, "", &records);
    return records;
  }

  void Forget() {
    mail_.reset();
    recipients_.clear();
  }

  const config::Config& config_;
  Console& console_;
  const Limits limits_;
  const std::string myhostname_;
  smtp::LineReader lines_;
  std::string bytes_;
  std::string_view unread_;  // of bytes_
  std::string unsent_;
  std::string helo_;
  bool extended_ = false;
  bool over_ = false;
  int errors_ = 0;
  std::optional<smtp::MailCommand> mail_;
  std::vector<smtp::RcptCommand> recipients_;
};

}  // namespace

int ServeStandardInput(const config::Config& config, Console& console) {
  if (absl::Status may = CheckSubmitter(config, getuid()); !may.ok()) return console.Fatal(may);
  return Dialogue(config, console).Run();
}

}  // namespace postfleet::commands
