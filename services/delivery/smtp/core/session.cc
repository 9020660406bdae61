#include "services/delivery/smtp/core/session.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/delivery/smtp/core/session_words.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;
using postfleet::smtp::ReplyParser;
using postfleet::smtp::ServerReply;

// Replies to a group of commands are kept for their turn; no honest server says more before it is
// asked.
constexpr size_t kEarlyBytesMax = 64 * 1024;
// Of a line that is no reply, in the log.
constexpr size_t kJunkBytesMax = 100;

constexpr StepWords kStepWords[] = {
    {"receiving the initial server greeting", ""},
    {"performing the EHLO handshake", "EHLO command"},
    {"performing the HELO handshake", "HELO command"},
    {"sending XFORWARD name/address", "XFORWARD name/address command"},
    {"sending XFORWARD protocol/helo_name", "XFORWARD helo/protocol command"},
    {"sending MAIL FROM", "MAIL FROM command"},
    {"sending RCPT TO", "RCPT TO command"},
    {"sending DATA command", "DATA command"},
    {"sending message body", ""},
    {"sending end of data -- message may be sent more than once", "end of DATA command"},
    {"sending final RSET", "RSET command"},
};
constexpr StepWords kLhloWords = {"performing the LHLO handshake", "LHLO command"};

}  // namespace

const StepWords& WordsOf(Session::Step step, bool lmtp) {
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

Session::Session(Peer peer, std::string nexthop, SessionOptions options)
    : peer_(std::move(peer)),
      nexthop_(std::move(nexthop)),
      options_(std::move(options)),
      parser_(options_.keep_utf8_replies, options_.reply_filter) {}

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
  mail_refused_ = left_open_ = given_up_ = our_failure_ = false;
  unanswered_ = true;
  failure_.reset();
  if (RefuseUnsendable()) {
    unanswered_ = false;
    state_ = State::kDone;
    return;
  }
  if (features_.pipelining) {
    AppendGroup();
  } else {
    AppendCommand(FirstStep());
  }
  left_open_ = true;
  Await(FirstStep());
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
    if (result == ReplyParser::kFlood) {
      return FailConnection(
          "4.5.0", Concat("protocol error in reply from ", peer_.ToString(), " while ", Doing()));
    }
    if (result == ReplyParser::kFailed) {
      our_failure_ = true;
      return FailConnection("4.3.0",
                            Concat("local data error while talking to ", peer_.ToString()));
    }
    TakeReply(reply);
  }
  if (in.empty()) return;
  if (state_ == State::kBody) {
    early_ = std::string(in);
  } else {
    broken_ = true;
  }
}

void Session::TakeReply(const ServerReply& reply) {
  if (reply.had_junk && features_.pipelining) NoteJunk(reply);
  unanswered_ = unanswered_ && reply.code == 421;
  if (reply.code == 421) broken_ = true;
  OnReply(reply);
}

void Session::NoteJunk(const ServerReply& reply) {
  const std::string_view prefix = transaction_.queue_id.empty() ? "" : ": ";
  Note(true, Concat(transaction_.queue_id, prefix, "non-", options_.lmtp ? "LMTP" : "ESMTP",
                    " response from ", peer_.WithPort(), ": ",
                    std::string_view(reply.junk).substr(0, kJunkBytesMax)));
  Note(true, Concat("to prevent loss of mail, turn off command pipelining for ", peer_.address,
                    " with the ",
                    options_.lmtp ? "lmtp_discard_lhlo_keyword_address_maps"
                                  : "smtp_discard_ehlo_keyword_address_maps",
                    " parameter"));
}

void Session::Note(bool is_warning, std::string text) {
  if (notes_.size() < kNotesMax) notes_.push_back({is_warning, std::move(text)});
}

const char* Session::Doing() const { return WordsOf(step_, options_.lmtp).doing; }

void Session::OnReply(const ServerReply& reply) {
  switch (step_) {
    case Step::kGreeting:
      return OnGreeting(reply);
    case Step::kEhlo:
    case Step::kHelo:
      return OnHelo(reply);
    case Step::kXforwardName:
    case Step::kXforwardHelo:
      return OnXforward(reply);
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
    if (!IsOpen(open)) continue;
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
  mute_ = true;
  const bool in_transaction = step_ >= Step::kXforwardName && step_ <= Step::kDot &&
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
  if (std::any_of(outcomes_.begin(), outcomes_.end(), IsOpen)) {
    DecideOpen(failure);
    failure_ = std::move(failure);
  }
  Finish();
}

// The server said why before it hung up.
bool Session::RefusedBeforeTheLoss() {
  if (state_ != State::kBody || early_.empty()) return false;
  ReplyParser parser(options_.keep_utf8_replies, options_.reply_filter);
  std::string_view in = early_;
  if (parser.Feed(&in) != ReplyParser::kReply || parser.reply().IsPositive()) return false;
  broken_ = mute_ = true;
  DecideOpen(Refusal(parser.reply(), WordsOf(Step::kDot).command));
  Finish();
  return true;
}

void Session::Lost() {
  if (RefusedBeforeTheLoss()) return;
  FailConnection("4.4.2", Concat("lost connection with ", peer_.ToString(), " while ", Doing()));
}

void Session::TimedOut() {
  unanswered_ = false;
  FailConnection("4.4.2",
                 Concat("conversation with ", peer_.ToString(), " timed out while ", Doing()));
}

void Session::ContentFailed(std::string_view why) {
  our_failure_ = true;
  ContentUnfit("4.3.0", Concat("local data error while talking to ", peer_.ToString(),
                               why.empty() ? "" : ": ", why));
}

void Session::ContentUnfit(std::string status, std::string why) {
  broken_ = mute_ = given_up_ = true;
  DecideOpen(MakeOutcome(std::move(status), std::move(why)));
  Finish();
}

void Session::Cancel() {
  broken_ = mute_ = given_up_ = true;
  unanswered_ = false;
  DecideOpen(MakeOutcome("4.3.2", std::string(kStoppedText)));
  Finish();
}

}  // namespace postfleet::delivery::smtp
