// HELO to QUIT, in the words of smtpd(8).
#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/message/address_rewriting.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {

using maillog::Event;
using maillog::Fact;
using smtp::Verb;

namespace {

// Recipients that a message may have when all sessions together buffer as much as they may.
constexpr size_t kRecipientBytesFree = 16 * 1024;

// No "FROM:<...>" or "TO:<...>": it does not count against rates, as in Postfix.
bool IsUnreadable(const std::optional<smtp::Reply>& error) {
  return error && !error->lines.empty() && error->lines.front().starts_with("Syntax:");
}

// A name is joined of the words of a command; what brackets hold is a word.
std::string SingleBlanks(std::string_view text) {
  std::string joined;
  bool in_brackets = false;
  for (const char c : text) {
    const bool blank = !in_brackets && (c == ' ' || c == '\t');
    if (blank && (joined.empty() || joined.back() == ' ')) continue;
    in_brackets = in_brackets ? c != '>' : c == '<';
    joined.push_back(blank ? ' ' : c);
  }
  return joined;
}

// `site!user` can lead to what no path may be.
bool IsMalformed(const SessionConfig& config, std::string_view completed, bool smtputf8) {
  if (!config.allow_min_user && completed.starts_with('-')) return true;
  const size_t at = completed.rfind('@');
  if (at == completed.npos) return false;
  const std::string_view domain = completed.substr(at + 1);
  return !mail::IsMailDomain(domain, smtputf8) &&
         !(config.resolve_numeric_domain && mail::IsNetworkAddress(domain));
}

}  // namespace

void Session::Greet(const smtp::Command& command, bool esmtp) {
  helo_ = smtp::WithoutSpecials(SingleBlanks(command.arguments), config_.smtputf8);
  esmtp_ = esmtp;
  greeted_ = true;
}

bool Session::Helo(const smtp::Command& command, Actions* actions) {
  if (command.arguments.empty()) return Fail(501, "Syntax: HELO hostname", actions);
  DropTransaction(actions);
  // HELO takes back nothing that EHLO gave, as in Postfix.
  Greet(command, esmtp_);
  if (config_.delay_reject) return HeloDecided(std::nullopt, actions);
  return Judge(Stage::kHelo, helo_, &Session::HeloDecided, actions);
}

bool Session::RefuseGreeting(const Refusal& refusal, Actions* actions) {
  Refuse(where_, refusal, actions);
  greeted_ = false;
  helo_.clear();
  return false;
}

bool Session::HeloDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) return RefuseGreeting(*refusal, actions);
  Reply(250, config_.myhostname, actions);
  return true;
}

bool Session::Ehlo(const smtp::Command& command, Actions* actions) {
  if (command.arguments.empty()) return Fail(501, "Syntax: EHLO hostname", actions);
  DropTransaction(actions);
  Greet(command, false);
  if (config_.delay_reject) return EhloDecided(std::nullopt, actions);
  return Judge(Stage::kHelo, helo_, &Session::EhloDecided, actions);
}

bool Session::EhloDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) return RefuseGreeting(*refusal, actions);
  if (!keywords_known_) {
    Log(LogProgram::kSmtpd,
        Concat("warning: don't know what EHLO features to announce to ", client_), actions);
    return EndForTables("EHLO", actions);
  }
  esmtp_ = true;
  if (!discarded_keywords_.empty() && !discarded_keywords_.silent()) {
    Log(LogProgram::kSmtpd, Concat("discarding EHLO keywords: ", discarded_keywords_.names()),
        actions);
  }
  std::string size = "SIZE";
  if (config_.message_size_limit > 0) ConcatTo(&size, ' ', config_.message_size_limit);
  const struct {
    bool offered;
    std::string_view keyword;
  } keywords[] = {
      {Offers("PIPELINING"), "PIPELINING"},
      {Offers("SIZE"), size},
      {Offers("VRFY"), "VRFY"},
      {Offers("ETRN"), "ETRN"},
      {Offers("VERP") && facts_.may_verp, "XVERP"},
      {Offers("XCLIENT") && facts_.may_xclient, smtp::kXclientKeyword},
      {Offers("XFORWARD") && facts_.may_xforward, smtp::kXforwardKeyword},
      {Offers("ENHANCEDSTATUSCODES"), "ENHANCEDSTATUSCODES"},
      {Offers("8BITMIME"), "8BITMIME"},
      {Offers("DSN"), "DSN"},
      {Offers("SMTPUTF8"), "SMTPUTF8"},
      {Offers("CHUNKING"), "CHUNKING"},
  };
  std::string lines;
  std::string_view last = config_.myhostname;
  for (const auto& row : keywords) {
    if (!row.offered) continue;
    ConcatTo(&lines, "250-", last, "\r\n");
    last = row.keyword;
  }
  Reply(250, last, actions, lines);
  return true;
}

bool Session::Offers(std::string_view keyword) const {
  if (keyword == "VRFY" && config_.disable_vrfy) return false;
  if (keyword == "SMTPUTF8" && !config_.smtputf8) return false;
  return !discarded_keywords_.Contains(keyword);
}

bool Session::FailParsing(const smtp::Reply& reply, const smtp::Command& command,
                          Actions* actions) {
  const bool bad_address = reply.code == 501 && reply.status.subject == 1;
  if (bad_address) {
    const size_t colon =
        command.verb == Verb::kVrfy ? std::string_view::npos : command.arguments.find(':');
    const std::string_view address =
        colon == std::string_view::npos ? command.arguments : command.arguments.substr(colon + 1);
    const bool open_bracket =
        address.starts_with('<') && address.find('>') == std::string_view::npos;
    if (!open_bracket) LogBadAddress(command.verb, address, actions);
  }
  std::string text = reply.status.ToString();
  if (!text.empty()) text += ' ';
  text += reply.lines.empty() ? "" : reply.lines.front();
  return Fail(reply.code, text, actions);
}

void Session::LogBadAddress(Verb verb, std::string_view address, Actions* actions) {
  Log(LogProgram::kSmtpd,
      Concat("warning: Illegal address syntax from ", client_, " in ", smtp::VerbName(verb),
             " command: ", address),
      actions);
}

smtp::PathSyntax Session::Syntax() const {
  return {.path = {.strict = config_.strict_envelopes,
                   .allow_null_domain = config_.resolve_null_domain,
                   .allow_numeric_domain = config_.resolve_numeric_domain},
          .dsn = Offers("DSN"),
          .smtputf8 = Offers("SMTPUTF8"),
          .strict_smtputf8 = config_.strict_smtputf8,
          .allow_min_user = config_.allow_min_user,
          .auth = false,
          .verp = facts_.may_verp ? &config_.verp : nullptr};
}

bool Session::Mail(const smtp::Command& command, Actions* actions) {
  if (config_.helo_required && !greeted_) {
    return Fail(503, "5.5.1 Error: send HELO/EHLO first", actions);
  }
  if (transaction_ != nullptr) return Fail(503, "5.5.1 Error: nested MAIL command", actions);
  if (chunk_.state != Chunk::kNone) return Fail(503, "5.5.1 Error: MAIL after BDAT", actions);
  smtp::MailCommand mail;
  const auto bad = smtp::ParseMail(command.arguments, Syntax(), &mail);
  if (!IsUnreadable(bad) && TooManyMessages(actions)) return false;
  if (bad) return FailParsing(*bad, command, actions);
  std::string completed = message::CompleteSender(config_.local_rewriting, mail.sender);
  if (IsMalformed(config_, completed, mail.smtputf8)) {
    return FailParsing(smtp::Reply(501, {5, 1, 7}, "Bad sender address syntax"), command, actions);
  }
  const auto null_verp = smtp::RefuseVerpOfNullSender(mail);
  transaction_ = std::make_unique<Transaction>();
  Transaction& transaction = *transaction_;
  transaction.sender = std::move(mail.sender);
  transaction.sender_text = std::move(mail.sender_text);
  transaction.body = mail.body;
  transaction.size_hint = mail.size_bytes;
  transaction.smtputf8 = mail.smtputf8;
  transaction.dsn_return = mail.ret == "FULL"   ? mail::v1::Envelope::RETURN_FULL
                           : mail.ret == "HDRS" ? mail::v1::Envelope::RETURN_HDRS
                                                : mail::v1::Envelope::RETURN_UNSPECIFIED;
  transaction.dsn_envid = std::move(mail.envid);
  transaction.verp = std::move(mail.verp);

  transaction.completed_sender = std::move(completed);

  bool good = true;
  if (config_.message_size_limit > 0 && mail.size_bytes > config_.message_size_limit) {
    good =
        Refuse("MAIL", RejectReason::kSize, 552, "5.3.4 Message size exceeds fixed limit", actions);
  } else if (null_verp) {
    good = FailParsing(*null_verp, command, actions);
  } else if (!surroundings_.QueueIsThere()) {
    good = FailForQueue("MAIL", actions);
  } else if (surroundings_.DiskNearlyFull()) {
    good = Refuse("MAIL", RejectReason::kSpace, 452, "4.3.1 Insufficient system storage", actions);
  }
  if (!good) {
    transaction_.reset();
    return false;
  }
  if (config_.delay_reject) return MailDecided(std::nullopt, actions);
  return Judge(Stage::kSender, transaction.sender_text, &Session::MailDecided, actions);
}

bool Session::MailDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  const absl::StatusOr<bool> local_headers = HeadersAreLocal();
  bool good = true;
  if (refusal) {
    good = Refuse("MAIL", *refusal, actions);
  } else if (!local_headers.ok()) {
    good = Refuse("MAIL", RejectReason::kLookup, 451,
                  Concat("4.3.0 <", transaction_->sender_text, ">: Temporary lookup failure"),
                  actions);
  } else if (!config_.delay_open_until_valid_rcpt) {
    good = OpenMessage("MAIL", actions);
  }
  if (!good) {
    transaction_.reset();
    return false;
  }
  transaction_->local_headers = ForwardedIsLocal().value_or(*local_headers);
  mail_ms_ = surroundings_.WallMillis();
  Reply(250, "2.1.0 Ok", actions);
  return true;
}

bool Session::Rcpt(const smtp::Command& command, Actions* actions) {
  if (transaction_ == nullptr) return Fail(503, "5.5.1 Error: need MAIL command", actions);
  if (chunk_.state != Chunk::kNone) return Fail(503, "5.5.1 Error: RCPT after BDAT", actions);
  smtp::RcptCommand rcpt;
  const auto bad = smtp::ParseRcpt(command.arguments, Syntax(), transaction_->smtputf8, &rcpt);
  if (!IsUnreadable(bad) && TooManyRecipients(actions)) return false;
  if (bad) return FailParsing(*bad, command, actions);
  if (transaction_->recipients.size() >= static_cast<size_t>(config_.recipient_limit)) {
    Reply(452, "4.5.3 Error: too many recipients", actions);
    CountReject(actions, {"RCPT", 452, RejectReason::kLimit});
    // Clients that go on for long after this do not listen.
    return transaction_->overshoot++ < config_.recipient_overshoot_limit;
  }
  asked_ = std::move(rcpt);
  return AskLookup(Verb::kRcpt, actions);
}

bool Session::AskLookup(Verb verb, Actions* actions) {
  awaiting_verb_ = verb;
  phase_ = Phase::kAwaitingAnswer;
  actions->resolve = Resolve{message::CompleteAddress(config_.local_rewriting, asked_.recipient),
                             transaction_ == nullptr ? "" : transaction_->sender.ToString(),
                             config_.reject_unlisted_recipient};
  return true;
}

bool Session::AcceptRecipient(Actions* actions) {
  Transaction& transaction = *transaction_;
  if (transaction.recipient_bytes >= kRecipientBytesFree && surroundings_.BuffersFull()) {
    return Refuse("RCPT", RejectReason::kSpace, 452, "4.3.1 Insufficient system storage", actions);
  }
  if (transaction.queue_id.empty() && !OpenMessage("RCPT", actions)) return false;
  std::string given = asked_.recipient.ToString();
  // A notice names the recipient as it was written.
  if (asked_.orcpt.empty() && asked_.recipient_text != mail::QuoteAddress(given)) {
    asked_.orcpt = Concat("rfc822;", asked_.recipient_text);
  }
  transaction.recipients.push_back(
      {.address = message::CompleteAddress(config_.local_rewriting, asked_.recipient),
       .given = std::move(given),
       .dsn_notify = static_cast<uint32_t>(asked_.notify),
       .dsn_orcpt = std::move(asked_.orcpt)});
  const AcceptedRecipient& last = transaction.recipients.back();
  transaction.recipient_bytes +=
      sizeof(last) + last.address.size() + last.given.size() + last.dsn_orcpt.size();
  Reply(250, "2.1.5 Ok", actions);
  return true;
}

bool Session::OpenMessage(std::string_view stage, Actions* actions) {
  transaction_->queue_id = surroundings_.NextQueueId();
  if (transaction_->queue_id.empty()) return FailForQueue(stage, actions);
  Log(LogProgram::kSmtpd,
      maillog::Line::Of(Fact("queue_id", transaction_->queue_id),
                        ": client=", Fact("client", client_), ClientNote(), Event("client")),
      actions);
  // Where Postfix does: before anything of the message is taken in.
  if (surroundings_.QueueIsBehind()) delay_owed_ms_ = config_.in_flow_delay_ms;
  return true;
}

bool Session::FailForQueue(std::string_view stage, Actions* actions) {
  CountReject(actions, {stage, 451, RejectReason::kQueue});
  Reply(451, "4.3.0 Error: queue file write error", actions);
  return false;
}

bool Session::Data(const smtp::Command& command, Actions* actions) {
  if (chunk_.state != Chunk::kNone) return Fail(503, "5.5.1 Error: DATA after BDAT", actions);
  if (transaction_ == nullptr) return Fail(503, "5.5.1 Error: need RCPT command", actions);
  if (transaction_->recipients.empty()) {
    Reply(554, "5.5.1 Error: no valid recipients", actions);
    return false;
  }
  if (!command.arguments.empty()) return Fail(501, "5.5.4 Syntax: DATA", actions);
  return Judge(Stage::kData, "DATA", &Session::DataDecided, actions);
}

bool Session::DataDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) return Refuse("DATA", *refusal, actions);
  if (!surroundings_.QueueIsThere()) return FailForQueue("DATA", actions);
  if (surroundings_.BuffersFull()) {
    return Refuse("DATA", RejectReason::kSpace, 452, "4.3.1 Insufficient system storage", actions);
  }
  BeginData(smtp::DataReader::Framing::kData);
  Reply(354, "End data with <CR><LF>.<CR><LF>", actions);
  return true;
}

bool Session::Rset(const smtp::Command& command, Actions* actions) {
  if (!command.arguments.empty()) return Fail(501, "5.5.4 Syntax: RSET", actions);
  DropTransaction(actions);
  Reply(250, "2.0.0 Ok", actions);
  return true;
}

bool Session::Noop(const smtp::Command&, Actions* actions) {
  Reply(250, "2.0.0 Ok", actions);
  return true;
}

bool Session::Vrfy(const smtp::Command& command, Actions* actions) {
  if (config_.disable_vrfy) return Fail(502, "5.5.1 VRFY command is disabled", actions);
  std::string_view address = command.arguments;
  constexpr std::string_view kUtf8 = " smtputf8";
  const bool offered = Offers("SMTPUTF8");
  const bool utf8 = offered && mail::LowerCasedAscii(Concat(' ', address)).ends_with(kUtf8);
  if (utf8) address.remove_suffix(std::min(address.size(), kUtf8.size()));
  if (address.empty()) {
    return Fail(501, Concat("5.5.4 Syntax: VRFY address", offered ? " [SMTPUTF8]" : ""), actions);
  }
  if (TooManyRecipients(actions)) return false;
  smtp::RcptCommand rcpt;
  const auto bad = smtp::ParseRcpt(Concat("TO:", address), Syntax(), utf8, &rcpt);
  if (bad) {
    return FailParsing(smtp::Reply(501, {5, 1, 3}, "Bad recipient address syntax"), command,
                       actions);
  }
  rcpt.orcpt = std::string(address);  // what a 252 repeats
  asked_ = std::move(rcpt);
  return AskLookup(Verb::kVrfy, actions);
}

// RFC 1985. Its replies have no enhanced status codes in Postfix either.
bool Session::Etrn(const smtp::Command& command, Actions* actions) {
  if (config_.helo_required && !greeted_) {
    return Fail(503, "Error: send HELO/EHLO first", actions);
  }
  if (transaction_ != nullptr) return Fail(503, "Error: MAIL transaction in progress", actions);
  std::string_view site = command.arguments;
  if (site.empty() || site.find_first_of(" \t") != site.npos) {
    return Fail(500, "Syntax: ETRN domain", actions);
  }
  if (site.front() == '@' || site.front() == '#') site.remove_prefix(1);
  if (!tables::FastFlushDomains::IsSite(site)) {
    return Fail(501, "Error: invalid parameter syntax", actions);
  }
  etrn_site_ = std::string(site);
  return Judge(Stage::kEtrn, etrn_site_, &Session::EtrnDecided, actions);
}

bool Session::EtrnDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  const std::string site = std::exchange(etrn_site_, {});
  if (refusal) return Refuse("ETRN", *refusal, actions);
  const absl::StatusOr<bool> may_be = config_.flush_domains == nullptr
                                          ? absl::StatusOr<bool>(false)
                                          : config_.flush_domains->Contains(site);
  if (!may_be.ok()) {
    Reply(458, "Unable to queue messages", actions);
    return false;
  }
  if (!*may_be) {
    Log(LogProgram::kSmtpd, Concat("warning: reject: ETRN ", site, "... from ", client_), actions);
    Reply(459, Concat("<", site, ">: service unavailable"), actions);
    return false;
  }
  awaiting_verb_ = Verb::kEtrn;
  phase_ = Phase::kAwaitingAnswer;
  actions->flush = mail::LowerCasedAscii(site);
  return true;
}

bool Session::Help(const smtp::Command&, Actions* actions) {
  Reply(214, "2.0.0 Commands: BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET VRFY",
        actions);
  return true;
}

bool Session::Quit(const smtp::Command&, Actions* actions) {
  Reply(221, "2.0.0 Bye", actions);
  return true;
}

bool Session::Auth(const smtp::Command&, Actions* actions) {
  return Fail(503, "5.5.1 Error: authentication not enabled", actions);
}

bool Session::NotImplemented(const smtp::Command& command, Actions* actions) {
  // A chunk follows a BDAT: it cannot be told from commands, so the session ends.
  if (command.verb == Verb::kBdat) {
    Reply(521, "5.5.1 Error: command not implemented", actions);
    FinishCommand(Verb::kBdat, false, actions);
    End("", actions);
    return false;
  }
  if (command.verb == Verb::kStarttls && !command.arguments.empty()) {
    return Fail(501, "5.5.4 Syntax: STARTTLS", actions);
  }
  return Fail(502, "5.5.1 Error: command not implemented", actions);
}

}  // namespace postfleet::ingress
