#include "services/delivery/smtp/core/session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;
using postfleet::smtp::ReplyParser;
using postfleet::smtp::ServerReply;

// Replies to a group of commands are kept for their turn; no honest server says more before it is
// asked.
constexpr size_t kEarlyBytesMax = 64 * 1024;

struct StepWords {
  // "lost connection with X while ..."
  const char* doing;
  // "... (in reply to X)"
  const char* command;
};
constexpr StepWords kStepWords[] = {
    {"receiving the initial server greeting", ""},
    {"performing the EHLO handshake", "EHLO command"},
    {"performing the HELO handshake", "HELO command"},
    {"sending MAIL FROM", "MAIL FROM command"},
    {"sending RCPT TO", "RCPT TO command"},
    {"sending DATA command", "DATA command"},
    {"sending message body", ""},
    {"sending end of data -- message may be sent more than once", "end of DATA command"},
    {"sending final RSET", "RSET command"},
};
constexpr StepWords kLhloWords = {"performing the LHLO handshake", "LHLO command"};

const StepWords& WordsOf(Session::Step step, bool lmtp = false) {
  if (lmtp && step == Session::Step::kEhlo) return kLhloWords;
  return kStepWords[static_cast<size_t>(step)];
}

Outcome MakeOutcome(std::string status, std::string text) {
  Outcome outcome;
  outcome.set_action(status[0] == '4' ? Outcome::ACTION_DEFERRED : Outcome::ACTION_BOUNCED);
  outcome.set_status(std::move(status));
  outcome.set_text(std::move(text));
  return outcome;
}

bool IsSendable(std::string_view address) {
  return address.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && mail::LowerCasedAscii(a) == mail::LowerCasedAscii(b);
}

// `SIZE=1000`, as some servers have it, is two words.
std::string_view FirstWord(std::string_view* text) {
  constexpr std::string_view kBetween = " \t=";
  text->remove_prefix(std::min(text->find_first_not_of(kBetween), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(kBetween));
  text->remove_prefix(word.size());
  return word;
}

}  // namespace

Session::Session(Peer peer, std::string nexthop, SessionOptions options)
    : peer_(std::move(peer)), nexthop_(std::move(nexthop)), options_(std::move(options)) {}

void Session::Opened() { Await(Step::kGreeting); }

void Session::Await(Step step) {
  state_ = State::kReplies;
  step_ = step;
}

void Session::Begin(Transaction transaction) {
  transaction_ = std::move(transaction);
  outcomes_.assign(transaction_.recipients.size(), {});
  for (size_t i = 0; i < outcomes_.size(); ++i) {
    outcomes_[i].set_recipient_number(transaction_.recipients[i]->number());
  }
  next_rcpt_ = accepted_ = next_dot_ = 0;
  mail_refused_ = left_open_ = given_up_ = false;
  unanswered_ = true;
  failure_.reset();
  if (RefuseUnsendable()) {
    unanswered_ = false;
    state_ = State::kDone;
    return;
  }
  AppendMail();
  if (features_.pipelining) {
    for (size_t i = 0; i < outcomes_.size(); ++i) AppendRcpt(i);
    output_ += "DATA\r\n";
  }
  left_open_ = true;
  Await(Step::kMail);
}

// True: nothing is left to be sent.
bool Session::RefuseUnsendable() {
  if (!IsSendable(transaction_.envelope->sender())) {
    DecideOpen(MakeOutcome("5.1.7", "bad sender address syntax"));
    return true;
  }
  if (transaction_.envelope->smtputf8() && !features_.smtputf8) {
    DecideOpen(MakeOutcome(
        "5.6.7", Concat("SMTPUTF8 is required, but was not offered by host ", peer_.ToString())));
    return true;
  }
  if (features_.size_limit_bytes != 0 && transaction_.content_bytes > features_.size_limit_bytes) {
    DecideOpen(MakeOutcome(
        "5.3.4", Concat("message size ", transaction_.content_bytes, " exceeds size limit ",
                        features_.size_limit_bytes, " of server ", peer_.ToString())));
    return true;
  }
  // A recipient that cannot be written leaves the transaction; its outcome is kept at the place of
  // its number.
  bool some = false;
  for (size_t i = 0; i < outcomes_.size(); ++i) {
    if (IsSendable(transaction_.recipients[i]->address())) {
      some = true;
      continue;
    }
    const uint32_t number = outcomes_[i].recipient_number();
    outcomes_[i] = MakeOutcome("5.1.3", "bad recipient address syntax");
    outcomes_[i].set_recipient_number(number);
  }
  return !some;
}

void Session::Received(std::string_view bytes) {
  // Said without being asked: what follows could not be told from an answer.
  if (state_ == State::kReady) return Lost();
  if (state_ == State::kDone || state_ == State::kFailed) {
    broken_ = true;
    return;
  }
  if (!early_.empty() || state_ != State::kReplies) {
    if (early_.size() + bytes.size() > kEarlyBytesMax) return Lost();
    early_.append(bytes);
    if (state_ != State::kReplies) return;
    bytes = {};
  }
  std::string kept = std::exchange(early_, {});
  std::string_view in = kept.empty() ? bytes : std::string_view(kept);
  while (state_ == State::kReplies) {
    const ReplyParser::Result result = parser_.Feed(&in);
    if (result == ReplyParser::kNeedMore) return;
    const ServerReply reply = parser_.TakeReply();
    parser_.Reset();
    if (result == ReplyParser::kFlood || (reply.had_junk && features_.pipelining)) {
      return FailConnection("4.5.0", Concat("protocol error in reply from ", peer_.ToString(),
                                            " while ", WordsOf(step_, options_.lmtp).doing));
    }
    unanswered_ = unanswered_ && reply.code == 421;
    if (reply.code == 421) broken_ = true;
    OnReply(reply);
  }
  if (in.empty()) return;
  if (state_ == State::kBody) {
    early_ = std::string(in);
  } else {
    broken_ = true;
  }
}

void Session::OnReply(const ServerReply& reply) {
  switch (step_) {
    case Step::kGreeting:
      return OnGreeting(reply);
    case Step::kEhlo:
    case Step::kHelo:
      return OnHelo(reply);
    case Step::kMail:
      return OnMail(reply);
    case Step::kRcpt:
      return OnRcpt(reply);
    case Step::kData:
      return OnData(reply);
    case Step::kBody:
    case Step::kDot:
      return OnDot(reply);
    case Step::kReset:
      return OnReset(reply);
  }
}

// `said` is "host X said: ..." or "host X refused to talk to me: ...". A reply of a class that says
// neither "later" nor "no" is the server's mistake, and only a 2xx is called so.
Outcome Session::Negative(const ServerReply& reply, std::string_view said) const {
  const bool expected = reply.IsTransient() || reply.IsPermanent();
  Outcome outcome = MakeOutcome(expected ? reply.status.ToString() : "5.5.0",
                                Concat(reply.IsPositive() ? "Protocol error: " : "", said));
  outcome.set_remote_mta(peer_.host);
  outcome.set_diagnostic(reply.text);
  return outcome;
}

Outcome Session::Rejection(const ServerReply& reply) const {
  return Negative(reply, Concat("host ", peer_.ToString(), " refused to talk to me: ", reply.text));
}

Outcome Session::Refusal(const ServerReply& reply, std::string_view command) const {
  return Negative(reply, Concat("host ", peer_.ToString(), " said: ", reply.text, " (in reply to ",
                                command, ")"));
}

void Session::OnGreeting(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    Outcome rejection = Rejection(reply);
    if (options_.skip_5xx_greeting && reply.IsPermanent()) {
      rejection.mutable_status()->front() = '4';
      rejection.set_action(Outcome::ACTION_DEFERRED);
    }
    return Fail(std::move(rejection));
  }
  std::string_view words = reply.lines.empty() ? std::string_view() : reply.lines.front();
  if (options_.detect_loop && EqualsIgnoringCase(FirstWord(&words), options_.myhostname)) {
    warning_ =
        Concat("host ", peer_.ToString(), " greeted me with my own hostname ", options_.myhostname);
  }
  ConcatTo(&output_, options_.lmtp ? "LHLO " : "EHLO ", options_.helo_name, "\r\n");
  Await(Step::kEhlo);
}

void Session::OnHelo(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    if (step_ == Step::kHelo || options_.lmtp || reply.code == 421) return Fail(Rejection(reply));
    ConcatTo(&output_, "HELO ", options_.helo_name, "\r\n");
    return Await(Step::kHelo);
  }
  if (TakeFeatures(reply)) state_ = State::kReady;
}

// False: the server is ourselves.
bool Session::TakeFeatures(const ServerReply& reply) {
  for (size_t i = 0; i < reply.lines.size(); ++i) {
    std::string_view words = reply.lines[i];
    const std::string_view word = FirstWord(&words);
    if (i == 0) {
      if (!options_.detect_loop || !EqualsIgnoringCase(word, options_.myhostname)) continue;
      warning_ = Concat("host ", peer_.ToString(), " replied to HELO/EHLO with my own hostname ",
                        options_.myhostname);
      Fail(MakeOutcome("5.4.6", Concat("mail for ", nexthop_, " loops back to myself")));
      return false;
    }
    if (step_ != Step::kEhlo) continue;
    if (EqualsIgnoringCase(word, "PIPELINING")) features_.pipelining = true;
    if (EqualsIgnoringCase(word, "8BITMIME")) features_.eight_bit_mime = true;
    if (EqualsIgnoringCase(word, "DSN")) features_.dsn = true;
    if (EqualsIgnoringCase(word, "SMTPUTF8")) features_.smtputf8 = true;
    if (EqualsIgnoringCase(word, "SIZE")) {
      // As Postfix: without a limit above zero the size is not said.
      const std::string_view limit = FirstWord(&words);
      int64_t bytes = 0;
      const auto end = std::from_chars(limit.data(), limit.data() + limit.size(), bytes);
      features_.size = end.ec == std::errc() && end.ptr == limit.data() + limit.size() && bytes > 0;
      features_.size_limit_bytes = features_.size ? static_cast<uint64_t>(bytes) : 0;
    }
  }
  return true;
}

void Session::OnMail(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    mail_refused_ = true;
    DecideOpen(Refusal(reply, WordsOf(Step::kMail).command));
    // What a pipelined group asked besides is still answered.
    if (!features_.pipelining) return Finish();
  }
  AwaitNextInEnvelope();
}

// Refused recipients keep their place: `next_rcpt_` steps over those that were never sent.
void Session::AwaitNextInEnvelope() {
  while (next_rcpt_ < outcomes_.size() &&
         !IsSendable(transaction_.recipients[next_rcpt_]->address())) {
    ++next_rcpt_;
  }
  if (next_rcpt_ < outcomes_.size()) {
    if (!features_.pipelining) AppendRcpt(next_rcpt_);
    return Await(Step::kRcpt);
  }
  if (!features_.pipelining) {
    if (accepted_ == 0) return Finish();
    output_ += "DATA\r\n";
  }
  Await(Step::kData);
}

void Session::OnRcpt(const ServerReply& reply) {
  Outcome& outcome = outcomes_[next_rcpt_++];
  if (outcome.action() == Outcome::ACTION_UNSPECIFIED) {
    if (reply.IsPositive()) {
      ++accepted_;
    } else {
      const uint32_t number = outcome.recipient_number();
      outcome = Refusal(reply, WordsOf(Step::kRcpt).command);
      outcome.set_recipient_number(number);
    }
  }
  AwaitNextInEnvelope();
}

void Session::OnData(const ServerReply& reply) {
  if (!reply.IsIntermediate()) {
    if (accepted_ > 0 && !mail_refused_) DecideOpen(Refusal(reply, WordsOf(Step::kData).command));
    return Finish();
  }
  if (accepted_ == 0 || mail_refused_) {
    // The server waits for a message that nobody gets, and, in LMTP, nobody is answered for.
    output_ += ".\r\n";
    if (options_.lmtp) {
      broken_ = true;
      return Finish();
    }
    return Await(Step::kDot);
  }
  state_ = State::kBody;
  step_ = Step::kBody;
}

void Session::BodySent() {
  Await(Step::kDot);
  if (early_.empty()) return;
  // Answered before it was asked: a refusal, or a server that counts wrong.
  Received({});
}

void Session::OnDot(const ServerReply& reply) {
  left_open_ = false;
  if (options_.lmtp) return OnRecipientDot(reply);
  if (accepted_ > 0 && reply.IsPositive()) {
    DecideOpen(Sent(reply));
  } else if (accepted_ > 0) {
    DecideOpen(Refusal(reply, WordsOf(Step::kDot).command));
  }
  Finish();
}

void Session::OnRecipientDot(const ServerReply& reply) {
  const auto is_open = [](const Outcome& o) { return o.action() == Outcome::ACTION_UNSPECIFIED; };
  const auto from = outcomes_.begin() + static_cast<ptrdiff_t>(next_dot_);
  const auto answered = std::find_if(from, outcomes_.end(), is_open);
  if (answered != outcomes_.end()) {
    const uint32_t number = answered->recipient_number();
    *answered = reply.IsPositive() ? Sent(reply) : Refusal(reply, WordsOf(Step::kDot).command);
    answered->set_recipient_number(number);
    next_dot_ = static_cast<size_t>(answered - outcomes_.begin()) + 1;
  }
  if (std::none_of(outcomes_.begin() + static_cast<ptrdiff_t>(next_dot_), outcomes_.end(),
                   is_open)) {
    Finish();
  }
}

Outcome Session::Sent(const ServerReply& reply) const {
  Outcome sent;
  sent.set_action(Outcome::ACTION_SENT);
  sent.set_status(reply.status.ToString());
  sent.set_text(reply.text);
  sent.set_remote_mta(peer_.host);
  sent.set_diagnostic(reply.text);
  // RFC 3461, 4.2: a server that offers DSN takes over what the sender asked for.
  if (features_.dsn) {
    sent.set_success(Outcome::SUCCESS_PASSED_ON);
  } else if (options_.lmtp && options_.lmtp_assume_final) {
    sent.set_success(Outcome::SUCCESS_DELIVERED);
  } else {
    sent.set_success(Outcome::SUCCESS_RELAYED);
  }
  return sent;
}

void Session::Reset() {
  failure_.reset();
  if (!left_open_) {
    state_ = State::kReady;
    return;
  }
  output_ += "RSET\r\n";
  Await(Step::kReset);
}

void Session::OnReset(const ServerReply& reply) {
  left_open_ = false;
  if (!reply.IsPositive()) return Fail(Refusal(reply, WordsOf(Step::kReset).command));
  state_ = State::kReady;
}

void Session::Quit() { output_ += "QUIT\r\n"; }

// Gives `outcome` to whom nothing has been said yet.
void Session::DecideOpen(const Outcome& outcome) {
  for (Outcome& open : outcomes_) {
    if (open.action() != Outcome::ACTION_UNSPECIFIED) continue;
    const uint32_t number = open.recipient_number();
    open = outcome;
    open.set_recipient_number(number);
  }
}

void Session::Fail(Outcome failure) {
  broken_ = true;
  failure_ = std::move(failure);
  state_ = State::kFailed;
}

void Session::FailConnection(const char* status, std::string text) {
  const bool in_transaction = step_ >= Step::kMail && step_ <= Step::kDot &&
                              (state_ == State::kReplies || state_ == State::kBody);
  Outcome failure = MakeOutcome(status, std::move(text));
  if (!in_transaction) {
    if (state_ == State::kDone) {
      broken_ = true;
      return;
    }
    return Fail(std::move(failure));
  }
  broken_ = true;
  const bool some_open = std::any_of(outcomes_.begin(), outcomes_.end(), [](const Outcome& o) {
    return o.action() == Outcome::ACTION_UNSPECIFIED;
  });
  if (some_open) {
    DecideOpen(failure);
    failure_ = std::move(failure);
  }
  Finish();
}

void Session::Lost() {
  if (state_ == State::kBody && !early_.empty()) {
    // The server said why before it hung up.
    ReplyParser parser;
    std::string_view in = early_;
    if (parser.Feed(&in) == ReplyParser::kReply && !parser.reply().IsPositive()) {
      broken_ = true;
      DecideOpen(Refusal(parser.reply(), WordsOf(Step::kDot).command));
      return Finish();
    }
  }
  FailConnection("4.4.2", Concat("lost connection with ", peer_.ToString(), " while ",
                                 WordsOf(step_, options_.lmtp).doing));
}

void Session::TimedOut() {
  unanswered_ = false;
  FailConnection("4.4.2", Concat("conversation with ", peer_.ToString(), " timed out while ",
                                 WordsOf(step_, options_.lmtp).doing));
}

void Session::ContentFailed(std::string_view why) {
  broken_ = given_up_ = true;
  DecideOpen(MakeOutcome("4.3.0", Concat("local data error while talking to ", peer_.ToString(),
                                         why.empty() ? "" : ": ", why)));
  Finish();
}

void Session::ContentUnfit(std::string status, std::string why) {
  broken_ = given_up_ = true;
  DecideOpen(MakeOutcome(std::move(status), std::move(why)));
  Finish();
}

void Session::Cancel() {
  broken_ = given_up_ = true;
  unanswered_ = false;
  DecideOpen(MakeOutcome("4.3.2", std::string(kStoppedText)));
  Finish();
}

}  // namespace postfleet::delivery::smtp
