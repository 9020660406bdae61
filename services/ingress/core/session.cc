#include "services/ingress/core/session.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/smtp/escaped_input.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

using maillog::Event;
using maillog::Fact;
using maillog::Line;
using smtp::Verb;

constexpr size_t kLoggedInputBytesMax = 100;
// RFC 5321, 4.5.3.1.5: a line has 512 bytes, its code and its end among them.
constexpr size_t kReplyTextBytesMax = 512 - 4 - 2;

// No longer than that, and no character in parts.
std::string_view FittingInLine(std::string_view text) {
  if (text.size() <= kReplyTextBytesMax) return text;
  size_t size = kReplyTextBytesMax;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

RejectReason ReasonOf(const Refusal& refusal) {
  switch (refusal.kind) {
    case Refusal::Kind::kRelay:
      return RejectReason::kRelay;
    case Refusal::Kind::kUnlisted:
      return RejectReason::kUnlisted;
    case Refusal::Kind::kLookup:
      return RejectReason::kLookup;
    default:
      return RejectReason::kAccess;
  }
}

std::string ClientText(const ConnectionFacts& facts, bool with_port) {
  std::string text = Concat(facts.name, '[', facts.address, ']');
  if (with_port) ConcatTo(&text, ':', facts.port);
  return text;
}

}  // namespace

std::string_view RejectReasonName(RejectReason reason) {
  constexpr std::string_view kNames[] = {"access", "relay",  "unlisted", "size",     "space",
                                         "limit",  "lookup", "queue",    "protocol", "content"};
  return kNames[static_cast<size_t>(reason)];
}

void Actions::Clear() {
  log.clear();
  rejects.clear();
  submits.clear();
  resolve.reset();
  flush.reset();
  reply.clear();
  delay_ms = 0;
  accepted = false;
  limited = false;
  close = false;
}

Session::Session(const SessionConfig& config, ConnectionFacts facts, Surroundings& surroundings)
    : config_(config),
      facts_(std::move(facts)),
      surroundings_(surroundings),
      client_(ClientText(facts_, config.client_port_logging)),
      lines_(config.line_length_limit, NormalizesLines()),
      discarded_keywords_(config.discarded_keywords),
      transcript_(config.notify_classes) {}

Session::~Session() = default;

void Session::NameClient() { client_ = ClientText(facts_, config_.client_port_logging); }

// ---- Events ----

void Session::OnConnect(Actions* actions) {
  Log(LogProgram::kSmtpd, Line::Of("connect from ", Fact("client", client_), Event("connect")),
      actions);
  if (TooManyConnections(actions)) return;
  FindKeywords(actions);
  if (!facts_.early_bytes.empty()) {
    Log(LogProgram::kSmtpd,
        Concat("improper command pipelining after CONNECT from ", client_, ": ",
               smtp::EscapedInput(facts_.early_bytes.substr(0, kLoggedInputBytesMax))),
        actions);
    if (config_.forbid_unauth_pipelining) {
      Reply(554, "5.5.0 Error: SMTP protocol synchronization", actions);
      CountReject(actions, {"CONNECT", 554, RejectReason::kProtocol});
      End("", actions);
      return;
    }
  }
  if (config_.delay_reject) {
    ConnectDecided(std::nullopt, actions);
  } else {
    Judge(Stage::kClient, client_, &Session::ConnectDecided, actions);
  }
}

void Session::OnNotReady(Actions* actions) {
  Log(LogProgram::kSmtpd, Line::Of("connect from ", Fact("client", client_), Event("connect")),
      actions);
  Reply(421, Concat("4.3.2 ", config_.myhostname, " Service currently unavailable"), actions);
  CountReject(actions, {"CONNECT", 421, RejectReason::kQueue});
  End("", actions);
}

void Session::OnBytes(std::string_view bytes, Actions* actions) { Continue(bytes, actions); }

void Session::OnDelayOver(Actions* actions) {
  if (ended_ && !close_owed_) return;
  if (!delaying_) {
    if (JudgingWaits()) OnJudgingTime(actions);
    return;
  }
  delaying_ = false;
  actions->reply += held_reply_;
  held_reply_.clear();
  if (close_owed_) {
    close_owed_ = false;
    actions->close = true;
    return;
  }
  Resume(actions);
}

void Session::OnTimeout(Actions* actions) {
  if (ended_) return;
  Reply(421, Concat("4.4.2 ", config_.myhostname, " Error: timeout exceeded"), actions);
  End("timeout", actions);
}

void Session::OnDisconnect(Actions* actions) {
  if (!ended_) End("lost connection", actions);
  actions->reply.clear();
  actions->close = false;
  actions->delay_ms = 0;
}

void Session::OnShutdown(Actions* actions) {
  draining_ = true;
  if (!ended_ && !Paused() && phase_ == Phase::kCommand) Continue({}, actions);
}

bool Session::AwaitsService() const {
  return phase_ == Phase::kAwaitingAnswer || phase_ == Phase::kAwaitingCommit;
}

bool Session::Paused() const {
  if (delaying_ || JudgingWaits() || AwaitsService()) return true;
  return phase_ == Phase::kData && transaction_->unacknowledged_chunks >= kUnacknowledgedChunksMax;
}

size_t Session::buffered_bytes() const {
  size_t bytes = pending_input_.size() + transcript_.bytes();
  if (transaction_ == nullptr) return bytes;
  bytes += transaction_->recipient_bytes;
  if (transaction_->content != nullptr) bytes += transaction_->content->chunk.size();
  return bytes;
}

// ---- Input ----

void Session::Continue(std::string_view in, Actions* actions) {
  while (!ended_ && !Paused()) {
    if (phase_ == Phase::kCommand) {
      if (errors_ >= config_.hard_error_limit) {
        Reply(421, Concat("4.7.0 ", config_.myhostname, " Error: too many errors"), actions);
        End("too many errors", actions);
        break;
      }
      if (draining_ && transaction_ == nullptr) {
        Reply(421, Concat("4.3.2 ", config_.myhostname, " Service currently unavailable"), actions);
        End("", actions);
        break;
      }
    }
    if (in.empty()) break;
    if (phase_ == Phase::kData) {
      ReadData(&in, actions);
    } else if (phase_ == Phase::kSkip) {
      SkipData(&in, actions);
    } else {
      ReadCommand(&in, actions);
    }
  }
  if (!ended_ && !in.empty()) pending_input_.assign(in);
}

void Session::Resume(Actions* actions) {
  if (Paused()) return;
  const std::string input = std::exchange(pending_input_, {});
  Continue(input, actions);
}

void Session::ReadCommand(std::string_view* in, Actions* actions) {
  smtp::Line line;
  const auto result = lines_.Next(in, &line);
  if (result == smtp::LineReader::kNeedMore) return;
  if (result == smtp::LineReader::kFlood) {
    Log(LogProgram::kSmtpd,
        Concat("warning: ", client_, ": request longer than ", config_.line_length_limit), actions);
    Reply(421, Concat("4.3.0 ", config_.myhostname, " Error: command line too long"), actions);
    CountReject(actions, {where_, 421, RejectReason::kProtocol});
    End("", actions);
    return;
  }
  transcript_.Came(line.text);
  if (line.cut) {
    Log(LogProgram::kSmtpd,
        Concat("warning: ", client_, ": request longer than ", config_.line_length_limit, ": ",
               line.text.substr(0, 30), "..."),
        actions);
  }
  if (line.bare_lf && !facts_.bare_newline_excluded &&
      config_.bare_newline != smtp::BareNewline::kNo) {
    saw_bare_lf_ = true;
    if (config_.bare_newline == smtp::BareNewline::kReject) {
      Reply(config_.bare_newline_reject_code,
            Concat("5.5.2 ", config_.myhostname, " Error: bare <LF> received"), actions);
      LogReject(where_, 0, "bare <LF> received", actions);
      CountReject(actions, {where_, config_.bare_newline_reject_code, RejectReason::kProtocol});
      End("", actions);
      return;
    }
  }
  std::optional<std::string> replacement;
  if (!Filter(line.text, &replacement, actions)) return;
  Execute(replacement ? *replacement : line.text, *in, actions);
}

const Session::VerbRow Session::kVerbs[] = {
    {Verb::kHelo, "HELO", &Session::Helo, true, true},
    {Verb::kEhlo, "EHLO", &Session::Ehlo, true, true},
    {Verb::kMail, "MAIL", &Session::Mail},
    {Verb::kRcpt, "RCPT", &Session::Rcpt},
    {Verb::kData, "DATA", &Session::Data, true},
    {Verb::kRset, "RSET", &Session::Rset, false, true},
    {Verb::kNoop, "NOOP", &Session::Noop, true, true},
    {Verb::kVrfy, "VRFY", &Session::Vrfy, true, true},
    {Verb::kHelp, "HELP", &Session::Help},
    {Verb::kQuit, "QUIT", &Session::Quit},
    {Verb::kAuth, "AUTH", &Session::Auth},
    {Verb::kStarttls, "STARTTLS", &Session::NotImplemented},
    {Verb::kEtrn, "ETRN", &Session::Etrn, false, true},
    {Verb::kBdat, "BDAT", &Session::Bdat},
    {Verb::kXclient, "XCLIENT", &Session::Xclient, true},
    {Verb::kXforward, "XFORWARD", &Session::Xforward},
};

const Session::VerbRow* Session::FindVerb(Verb verb) {
  static const auto table = [] {
    std::array<const VerbRow*, smtp::kVerbCount> rows{};
    for (const VerbRow& row : kVerbs) rows[static_cast<size_t>(row.verb)] = &row;
    return rows;
  }();
  return table[static_cast<size_t>(verb)];
}

void Session::Execute(std::string_view line, std::string_view rest, Actions* actions) {
  const smtp::Command command = smtp::ParseCommand(line);
  const VerbRow* row = FindVerb(command.verb);
  if (command.name.empty()) {
    where_ = "UNKNOWN";
    counts_.Came(Verb::kUnknown);
    FinishCommand(Verb::kUnknown, Fail(500, "5.5.2 Error: bad syntax", actions), actions);
    return;
  }
  if (config_.smtputf8 && !mail::IsUtf8(line)) {
    // Not one of the commands that the line at the end counts, as in Postfix.
    Fail(500, "5.5.2 Error: bad UTF-8 syntax", actions);
    counts_.Replied(Verb::kUnknown, last_code_);
    ++errors_;
    return;
  }
  if (IsNoop(command.name, actions)) {
    Reply(250, "2.0.0 Ok", actions);
    if (junk_commands_++ > config_.junk_command_limit) ++errors_;
    return;
  }
  if (row == nullptr) {
    where_ = "UNKNOWN";
    counts_.Came(Verb::kUnknown);
    if (IsForbidden(command.name, actions)) {
      Log(LogProgram::kSmtpd,
          Concat("warning: non-SMTP command from ", client_, ": ",
                 line.substr(0, kLoggedInputBytesMax)),
          actions);
      Reply(221, "2.7.0 Error: I can break rules, too. Goodbye.", actions);
      End("", actions);
      return;
    }
    FinishCommand(Verb::kUnknown, Fail(500, "5.5.2 Error: command not recognized", actions),
                  actions);
    return;
  }
  counts_.Came(command.verb);
  where_ = row->name;
  if (access_denied_ && command.verb != Verb::kQuit) {
    FinishCommand(Verb::kUnknown,
                  Fail(503, Concat("5.7.0 Error: access denied for ", client_), actions), actions);
    return;
  }
  if (SentAhead(*row, rest, actions)) return;
  current_verb_ = command.verb;
  const bool good = (this->*row->handler)(command, actions);
  if (!JudgingWaits()) FinishUnlessItGoesOn(command.verb, good, actions);
}

void Session::FinishUnlessItGoesOn(Verb verb, bool good, Actions* actions) {
  // A chunk counts when it is over.
  if (verb == Verb::kBdat || ended_) return;
  if (phase_ != Phase::kAwaitingAnswer && phase_ != Phase::kData) {
    FinishCommand(verb, good, actions);
  }
}

// A single look at what has come, so a race, as in Postfix.
bool Session::SentAhead(const VerbRow& row, std::string_view rest, Actions* actions) {
  if (rest.empty() || (esmtp_ && !row.last_of_group)) return false;
  Log(LogProgram::kSmtpd,
      Concat("improper command pipelining after ", row.name, " from ", client_, ": ",
             smtp::EscapedInput(rest.substr(0, kLoggedInputBytesMax))),
      actions);
  if (!config_.forbid_unauth_pipelining) return false;
  Reply(554, "5.5.0 Error: SMTP protocol synchronization", actions);
  CountReject(actions, {row.name, 554, RejectReason::kProtocol});
  End("", actions);
  return true;
}

void Session::FinishCommand(Verb verb, bool good, Actions* actions) {
  counts_.Replied(verb, last_code_);
  if (!good) {
    ++errors_;
  } else if (verb != Verb::kXclient) {
    // Whose success is another session's, in Postfix.
    counts_.Succeeded(verb);
  }
  const VerbRow* row = FindVerb(verb);
  if (row != nullptr && row->junk && junk_commands_++ > config_.junk_command_limit) ++errors_;
  if (verb == Verb::kQuit) End("", actions);
}

// ---- Output ----

void Session::Reply(int code, std::string_view text, Actions* actions,
                    std::string_view lines_before) {
  int64_t delay_ms = std::exchange(delay_owed_ms_, 0);
  if (errors_ >= config_.soft_error_limit) delay_ms = std::max(delay_ms, config_.error_sleep_ms);
  if (!delaying_ && delay_ms > 0) {
    delaying_ = true;
    actions->delay_ms = delay_ms;
  }
  last_code_ = code;
  std::string& out = delaying_ ? held_reply_ : actions->reply;
  out += lines_before;
  const size_t start = out.size();
  ConcatTo(&out, code, ' ', FittingInLine(text), "\r\n");
  // What a client said may be part of the text: it must not become a line of its own.
  for (size_t i = start; i + 2 < out.size(); ++i) {
    const auto byte = static_cast<unsigned char>(out[i]);
    if (byte < 32 || byte == 127) out[i] = '?';
  }
  if (config_.soft_bounce && code >= 500) {
    out[start] = '4';
    if (text.starts_with("5.")) out[start + 4] = '4';
  }
  if (code >= 400 && config_.reject_footer != nullptr) AppendFooter(start, &out, actions);
  transcript_.Sent(std::string_view(out).substr(start - lines_before.size()));
}

bool Session::Fail(int code, std::string_view text, Actions* actions) {
  transcript_.Erred(kProtocolError);
  Reply(code, text, actions);
  return false;
}

void Session::NoteRefusal(std::string_view stage, RejectReason reason, int code,
                          std::string_view text, Actions* actions) {
  int shown = code;
  std::string what(text);
  if (config_.soft_bounce && code >= 500) {
    shown = code - 100;
    if (what.starts_with("5.")) what[0] = '4';
  }
  LogReject(stage, shown, what, actions);
  CountReject(actions, {stage, shown, reason});
}

bool Session::Refuse(std::string_view stage, RejectReason reason, int code, std::string_view text,
                     Actions* actions) {
  NoteRefusal(stage, reason, code, text, actions);
  Reply(code, text, actions);
  return false;
}

bool Session::Refuse(std::string_view stage, const Refusal& refusal, Actions* actions) {
  return Refuse(stage, ReasonOf(refusal), refusal.code, refusal.text, actions);
}

void Session::LogReject(std::string_view stage, int code, std::string_view what, Actions* actions) {
  const bool in_queue = transaction_ != nullptr && !transaction_->queue_id.empty();
  Line text;
  text.Add(Fact("queue_id", in_queue ? std::string_view(transaction_->queue_id) : "NOQUEUE"),
           ": reject: ", Fact("stage", stage), " from ", Fact("client", client_), ": ",
           Event("reject"));
  if (code != 0) text.Add(Fact("code", code), ' ');
  text.Add(Fact("text", what), ';');
  if (transaction_ != nullptr) {
    text.Add(" from=<", Fact("from", transaction_->sender.ToSmtp()), '>');
  }
  if (awaiting_verb_ != Verb::kUnknown) {
    text.Add(" to=<", Fact("to", asked_.recipient.ToSmtp()), '>');
  } else if (transaction_ != nullptr && transaction_->recipients.size() == 1) {
    text.Add(" to=<", Fact("to", transaction_->recipients.front().given), '>');
  }
  text.Add(" proto=", Fact("proto", esmtp_ ? "ESMTP" : "SMTP"));
  if (!helo_.empty()) text.Add(" helo=<", Fact("helo", helo_), '>');
  Log(LogProgram::kSmtpd, std::move(text), actions);
}

void Session::Log(LogProgram program, maillog::Line text, Actions* actions) {
  actions->log.push_back({program, std::move(text)});
}

void Session::End(std::string_view reason, Actions* actions) {
  // A client that hangs up behind a message has all it wanted.
  const bool contented = reason == "lost connection" && where_ == "END-OF-MESSAGE";
  if (!reason.empty() && !contented) {
    Line text = Line::Of(Fact("reason", reason), " after ", Fact("stage", where_));
    if (phase_ == Phase::kData) {
      text.Add(" (", Fact("bytes", transaction_->content->bytes_read), " bytes)");
    }
    text.Add(" from ", Fact("client", client_), Event("broken_off"));
    Log(LogProgram::kSmtpd, std::move(text), actions);
  }
  EndTranscript(reason, actions);
  // A message whose last part is with the queue is its now; anything less is taken back.
  if (phase_ != Phase::kAwaitingCommit) DropTransaction(actions);
  std::string counts;
  counts_.AppendTo(&counts);
  Line text = Line::Of("disconnect from ", Fact("client", client_), ' ',
                       Fact("commands", std::string_view(counts).substr(1)), Event("disconnect"));
  if (saw_bare_lf_ && config_.bare_newline == smtp::BareNewline::kNote)
    text.Add(" notes=", Fact("notes", "bare_lf"));
  Log(LogProgram::kSmtpd, std::move(text), actions);
  ended_ = true;
  phase_ = Phase::kOver;
  judging_.reset();
  pending_input_ = {};
  if (delaying_) {
    close_owed_ = true;
  } else {
    actions->close = true;
  }
}

}  // namespace postfleet::ingress
