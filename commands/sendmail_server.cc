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

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
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
#include "libs/tables/fast_flush.h"
#include "libs/tables/match_list.h"

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

// Of the client that Postfix's server takes this for. A list that cannot be read allows nothing.
bool MayVerp(const config::Config& config) {
  constexpr std::string_view kParameter = "smtpd_authorized_verp_clients";
  tables::MatchListOptions options = {.kind = tables::MatchKind::kHost};
  options.tables.default_type = config.GetString("default_database_type");
  absl::StatusOr<tables::MatchList> list =
      tables::MatchList::Open(kParameter, config.GetString(kParameter), options);
  if (!list.ok()) return false;
  return list->MatchesHost(kClientName, *config::IpAddress::Parse(kClientAddress)).value_or(false);
}

// A message that comes in by BDAT.
struct Chunks {
  PostdropProcess postdrop;
  std::string queue_id;
  smtp::DataReader reader{smtp::BareNewline::kNormalize, smtp::DataReader::Framing::kChunk};
  std::string line;  // not yet whole
};

class Dialogue {
 public:
  Dialogue(const config::Config& config, Console& console)
      : config_(config),
        console_(console),
        limits_(Limits::From(config)),
        myhostname_(config.GetString("myhostname")),
        may_verp_(MayVerp(config)),
        verp_syntax_{.default_delimiters = config.GetString("default_verp_delimiters"),
                     .filter = config.GetString("verp_delimiter_filter")},
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
      case Verb::kBdat:
        return Bdat(command.arguments);
      case Verb::kEtrn:
        return Etrn(command.arguments);
      case Verb::kRset:
        Forget();
        return Say(250, "2.0.0", "Ok");
      case Verb::kNoop:
        return Say(250, "2.0.0", "Ok");
      case Verb::kVrfy:
        return Verify(command.arguments);
      case Verb::kHelp:
        return Say(214, "2.0.0",
                   "Commands: BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET VRFY");
      case Verb::kQuit:
        over_ = true;
        return Say(221, "2.0.0", "Bye");
      case Verb::kAuth:
        return Say(503, "5.5.1", "Error: authentication not enabled");
      case Verb::kXclient:
      case Verb::kXforward:
        if (mail_) return Say(503, "5.5.1", "Error: MAIL transaction in progress");
        return Say(550, "5.7.0", "Error: insufficient authorization");
      case Verb::kStarttls:
        return Say(502, "5.5.1", "Error: command not implemented");
      default:
        return Say(500, "5.5.2",
                   command.name.empty() ? "Error: bad syntax" : "Error: command not recognized");
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
                       {"PIPELINING", Concat("SIZE ", limits_.message_bytes_max), "VRFY", "ETRN"});
    if (may_verp_) reply.lines.push_back("XVERP");
    reply.lines.insert(reply.lines.end(),
                       {"ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"});
    Answer(reply);
  }

  void Mail(std::string_view arguments) {
    if (mail_) return Say(503, "5.5.1", "Error: nested MAIL command");
    if (chunks_failed_) return Say(503, "5.5.1", "Error: MAIL after BDAT");
    smtp::MailCommand mail;
    if (const auto bad =
            smtp::ParseMail(arguments, {.verp = may_verp_ ? &verp_syntax_ : nullptr}, &mail)) {
      return Answer(*bad);
    }
    if (limits_.message_bytes_max > 0 && mail.size_bytes > limits_.message_bytes_max) {
      return Say(552, "5.3.4", "Message size exceeds fixed limit");
    }
    if (const auto bad = smtp::RefuseVerpOfNullSender(mail)) return Answer(*bad);
    mail_ = std::move(mail);
    Say(250, "2.1.0", "Ok");
  }

  void Rcpt(std::string_view arguments) {
    if (!mail_) return Say(503, "5.5.1", "Error: need MAIL command");
    if (chunks_ || chunks_failed_) return Say(503, "5.5.1", "Error: RCPT after BDAT");
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
    if (bad) return Say(501, "5.5.4", "Syntax: VRFY address [SMTPUTF8]");
    Say(252, "2.0.0", recipient.recipient_text);
  }

  void Data(std::string_view arguments) {
    if (chunks_ || chunks_failed_) return Say(503, "5.5.1", "Error: DATA after BDAT");
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
    Finish(Concat("Ok: queued as ", queue_id), postdrop->Commit());
  }

  void Finish(const std::string& accepted, const absl::Status& status) {
    Forget();
    if (status.ok()) return Say(250, "2.0.0", accepted);
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
    if (!mail_->verp.empty()) Add(maildrop::kVerp, mail_->verp, &records);
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

  // There is no server here to ask.
  void Etrn(std::string_view site) {
    if (mail_) return Answer(smtp::Reply(503, "Error: MAIL transaction in progress"));
    if (site.empty() || site.find_first_of(" \t") != site.npos) {
      return Answer(smtp::Reply(500, "Syntax: ETRN domain"));
    }
    if (site.front() == '@' || site.front() == '#') site.remove_prefix(1);
    if (!tables::FastFlushDomains::IsSite(site)) {
      return Answer(smtp::Reply(501, "Error: invalid parameter syntax"));
    }
    Answer(smtp::Reply(458, "Unable to queue messages"));
  }

  // RFC 3030. Behind a chunk that was refused the rest of the message is thrown away.
  void Bdat(std::string_view arguments) {
    smtp::BdatCommand bdat;
    if (const auto bad = smtp::ParseBdat(arguments, &bdat)) {
      Answer(*bad);
      over_ = true;
      return;
    }
    if (bdat.size_bytes == 0 && !bdat.last) return Refuse(bdat, 551, "5.7.1", "Null BDAT request");
    if (chunks_failed_) {
      return Refuse(bdat, 551, "5.0.0",
                    Concat("Discarded ", bdat.size_bytes, " bytes after earlier error"));
    }
    if (!chunks_) {
      if (!mail_) return Refuse(bdat, 503, "5.5.1", "Error: need RCPT command");
      if (recipients_.empty()) return Refuse(bdat, 554, "5.5.1", "Error: no valid recipients");
      if (!BeginChunks()) return Refuse(bdat, 451, "4.3.0", "Error: queue file write error");
    }
    const uint64_t limit = limits_.message_bytes_max;
    const uint64_t so_far = chunks_->reader.wire_bytes();
    if (limit > 0 && (bdat.size_bytes > limit || so_far > limit - bdat.size_bytes)) {
      return Refuse(bdat, 552, "5.3.4", "Chunk exceeds message size limit");
    }
    if (!PassOnChunk(bdat)) {
      over_ = true;
      return;
    }
    if (!bdat.last) return Say(250, "2.0.0", Concat("Ok: ", bdat.size_bytes, " bytes"));
    const std::string queue_id = chunks_->queue_id;
    const uint64_t bytes = chunks_->reader.wire_bytes();
    chunks_->postdrop.Write(End());
    Finish(Concat("Ok: ", bytes, " bytes queued as ", queue_id), chunks_->postdrop.Commit());
  }

  bool BeginChunks() {
    absl::StatusOr<PostdropProcess> postdrop = PostdropProcess::Start(config_.directory());
    const std::string queue_id = postdrop.ok() ? postdrop->QueueId() : "";
    if (queue_id.empty()) return false;
    postdrop->Write(Envelope(queue_id));
    chunks_.emplace(Chunks{.postdrop = *std::move(postdrop), .queue_id = queue_id});
    return true;
  }

  // Answers behind the chunk. Behind the last one nothing is left of the transaction.
  void Refuse(const smtp::BdatCommand& bdat, int code, std::string_view status,
              std::string_view text) {
    uint64_t left = bdat.size_bytes;
    while (left > 0) {
      if (unread_.empty() && !Read()) {
        over_ = true;
        return;
      }
      const size_t size = std::min<uint64_t>(left, unread_.size());
      unread_.remove_prefix(size);
      left -= size;
    }
    chunks_.reset();
    chunks_failed_ = true;
    if (bdat.last) Forget();
    Say(code, status, text);
  }

  // False: the dialogue is over before the chunk is.
  bool PassOnChunk(const smtp::BdatCommand& bdat) {
    uint64_t left = bdat.size_bytes;
    std::string content(kContentBytes, '\0');
    std::string records;
    const auto write = [&](size_t size) {
      chunks_->line.append(content, 0, size);
      CutLines(&chunks_->line, &records);
      chunks_->postdrop.Write(records);
      records.clear();
    };
    while (left > 0) {
      while (unread_.empty()) {
        if (!Read()) return false;
      }
      const auto progress =
          chunks_->reader.Read(unread_.substr(0, std::min<uint64_t>(left, unread_.size())),
                               content.data(), content.size());
      unread_.remove_prefix(progress.consumed);
      left -= progress.consumed;
      write(progress.produced);
    }
    if (bdat.last) write(chunks_->reader.FinishChunks(content.data()));
    return true;
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
    chunks_.reset();
    chunks_failed_ = false;
  }

  const config::Config& config_;
  Console& console_;
  const Limits limits_;
  const std::string myhostname_;
  const bool may_verp_;
  const smtp::VerpSyntax verp_syntax_;
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
  std::optional<Chunks> chunks_;  // of the transaction
  bool chunks_failed_ = false;    // the rest of the message is thrown away
};

}  // namespace

int ServeStandardInput(const config::Config& config, Console& console) {
  if (absl::Status may = CheckSubmitter(config, getuid()); !may.ok()) return console.Fatal(may);
  return Dialogue(config, console).Run();
}

}  // namespace postfleet::commands
