// The client's session against the bytes of a hostile server, for some recipients: whatever comes,
// in whatever pieces, with silence, loss, stops and contents that fail between them,
//   - the session ends, and every recipient has one outcome, which then stays as it is;
//   - nobody is sent without a 2xx to MAIL and to its own RCPT, a 3xx to DATA and a 2xx behind that
//     (the order of the replies is counted here once more);
//   - who says something before the dot is not spoken to again;
//   - nothing but commands goes out, each on a line of its own, and memory stays bounded.
// The first bytes choose options, recipients, the envelope, and how far an honest server comes
// before the hostile one takes over. In the stream, a byte over 249 is an event, and one of
// kReplies a whole reply.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/delivery/smtp/core/session.h"

namespace {

using postfleet::delivery::smtp::EhloKeywords;
using postfleet::delivery::smtp::PixWorkarounds;
using postfleet::delivery::smtp::Session;
using postfleet::delivery::smtp::SessionOptions;
using postfleet::mail::v1::Envelope;
using postfleet::mail::v1::Outcome;
using postfleet::mail::v1::Recipient;
using postfleet::smtp::ReplyParser;
using State = Session::State;

// More than a transaction can say: seven commands and addresses of a known size.
constexpr size_t kOutputBytesMax = 4096;
constexpr size_t kTextBytesMax = 10'000;
constexpr int kTransactionsMax = 3;
constexpr size_t kUnsendable = 2;

void Check(bool holds) {
  if (!holds) std::abort();
}

SessionOptions OptionsOf(uint8_t bits) {
  return {.lmtp = (bits & 1) != 0,
          .helo_name = "client.example",
          .myhostname = "client.example",
          .skip_5xx_greeting = (bits & 2) != 0,
          .always_send_ehlo = (bits & 4) != 0,
          .discarded_keywords = EhloKeywords((bits & 8) != 0 ? "pipelining" : ""),
          .pix_workarounds = PixWorkarounds::Parse("disable_esmtp,delay_dotcrlf"),
          .send_xforward = (bits & 16) != 0,
          .keep_utf8_replies = (bits & 32) != 0};
}

struct CannedReply {
  char byte;
  std::string_view text;
};
constexpr CannedReply kReplies[] = {
    {',', "220 mx ESMTP\r\n"},
    {'@', "250-mx\r\n250-PIPELINING\r\n250-XFORWARD ADDR HELO IDENT\r\n250 SIZE 10000\r\n"},
    {'=', "250-mx\r\n250 8BITMIME\r\n"},
    {';', "250-mx\r\n250-SIZE many\r\n250-PIPELINING\r\n250-DSN\r\n250 SMTPUTF8\r\n"},
    {'<', "250 2.0.0 ok\r\n"},
    {'>', "354 go on\r\n"},
    {'"', "550 5.1.1 no\r\n"},
    {'a', "450 4.2.0 later\r\n"},
    {':', "421 4.3.2 closing\r\n"},
    {'\t', "what?\r\n"},
};
constexpr uint8_t kBodySent = 250;
constexpr int kHonestRepliesMax = 12;

const CannedReply* CannedOf(char c) {
  for (const CannedReply& reply : kReplies) {
    if (reply.byte == c) return &reply;
  }
  return nullptr;
}

class Play {
 public:
  // `form` has a bit for each thing that the envelope may say.
  Play(uint8_t bits, size_t recipients, size_t form)
      : session_({.host = "mx", .address = "192.0.2.1", .port = 25}, "example.net",
                 OptionsOf(bits)),
        lmtp_((bits & 1) != 0) {
    envelope_.set_sender((form & 1) != 0 ? "fr\xc3\xb6m@example.com" : "from@example.com");
    envelope_.set_smtputf8_requested((form & 2) != 0);
    envelope_.set_smtputf8_header((form & 4) != 0);
    envelope_.set_body_7bit((form & 8) != 0);
    envelope_.set_body_8bitmime((form & 16) != 0);
    envelope_.set_content_lines(form);
    envelope_.mutable_origin()->set_client_address("192.0.2.7");
    envelope_.mutable_origin()->set_helo("a b");
    for (size_t i = 0; i < recipients; ++i) {
      recipients_.emplace_back().set_number(static_cast<uint32_t>(10 * i));
      recipients_.back().set_address(!IsSendable(i) ? "bad\r\n@x" : "\"a b\"@example.net");
    }
    session_.Opened();
    Act();
  }

  void Stream(std::string_view in, size_t piece_bytes) {
    const auto special = [](char c) {
      return static_cast<uint8_t>(c) >= kBodySent || CannedOf(c) != nullptr;
    };
    while (!in.empty()) {
      if (!special(in.front())) {
        const auto end = std::find_if(in.begin(), in.end(), special);
        const auto plain = static_cast<size_t>(end - in.begin());
        const std::string_view piece = in.substr(0, std::min(plain, piece_bytes));
        Server(piece);
        in.remove_prefix(piece.size());
        continue;
      }
      if (const CannedReply* reply = CannedOf(in.front())) {
        Server(reply->text);
      } else {
        Event(static_cast<uint8_t>(in.front()));
      }
      in.remove_prefix(1);
    }
  }
  void ToBody() {
    for (int i = 0; i < kHonestRepliesMax && session_.state() == State::kReplies; ++i) {
      Stream(session_.step() == Session::Step::kData ? ">" : "<", 1);
    }
  }
  void Server(std::string_view bytes) {
    if (in_transaction()) CountReplies(bytes);
    early_ = early_ || (session_.state() == State::kBody && !bytes.empty());
    session_.Received(bytes);
    Act();
  }
  void Event(uint8_t which) {
    switch (which % 6) {
      case 0:
        session_.Lost();
        break;
      case 1:
        session_.TimedOut();
        break;
      case 2:
        if (in_transaction() && session_.step() != Session::Step::kDot) session_.Cancel();
        break;
      case 3:
        if (session_.state() == State::kBody) session_.ContentFailed("gone");
        break;
      case 4:
        if (session_.state() == State::kBody) session_.BodySent();
        break;
      default:
        if (session_.state() == State::kReady) Begin();
    }
    Act();
  }
  void End() {
    for (int i = 0; i < 4 && !over(); ++i) Event(0);
    Check(over());
    if (begun_ > 0 && session_.state() == State::kDone) CheckOutcomes();
  }

 private:
  bool over() const {
    return session_.state() == State::kFailed ||
           (session_.state() == State::kDone && (decided_ || begun_ == 0));
  }
  bool in_transaction() const {
    return begun_ > 0 && (session_.state() == State::kBody || session_.state() == State::kReplies);
  }

  static bool IsSendable(size_t recipient) { return recipient != kUnsendable; }

  void Begin() {
    if (begun_ == kTransactionsMax) return;
    ++begun_;
    decided_ = early_ = false;
    xforwards_ = 0;
    codes_.clear();
    parser_.Reset();
    postfleet::delivery::smtp::Transaction transaction{
        .queue_id = "QX", .envelope = &envelope_, .content_bytes = 100};
    for (const Recipient& recipient : recipients_) transaction.recipients.push_back(&recipient);
    session_.Begin(std::move(transaction));
  }

  void CountReplies(std::string_view bytes) {
    while (parser_.Feed(&bytes) == ReplyParser::kReply) {
      codes_.push_back(parser_.reply().code);
      parser_.Reset();
    }
  }
  bool WasAnswered(size_t reply, int code_class) const {
    return xforwards_ + reply < codes_.size() && codes_[xforwards_ + reply] / 100 == code_class;
  }

  // Who may be sent.
  std::vector<bool> Served() const {
    std::vector<bool> accepted(recipients_.size());
    size_t reply = 0;
    const bool mail = WasAnswered(reply++, 2);
    for (size_t i = 0; i < recipients_.size(); ++i) {
      if (IsSendable(i)) accepted[i] = WasAnswered(reply++, 2) && mail;
    }
    const bool data = WasAnswered(reply++, 3);
    std::vector<bool> served(recipients_.size());
    for (size_t i = 0; i < recipients_.size(); ++i) {
      if (!accepted[i]) continue;
      served[i] = data && WasAnswered(reply, 2);
      if (lmtp_) ++reply;
    }
    return served;
  }

  // Takes what the session says, and looks at it.
  void Act() {
    CheckOutput();
    Check(session_.TakeNotes().size() <= Session::kNotesMax);
    if (session_.state() == State::kReady) {
      Begin();
      CheckOutput();
    }
    if (session_.state() != State::kDone || begun_ == 0) return;
    CheckOutcomes();
    if (session_.reusable() && begun_ < kTransactionsMax) {
      session_.Reset();
      decided_ = false;
      Act();
    }
  }

  void CheckOutput() {
    std::string out = std::exchange(session_.output(), {});
    Check(out.size() <= kOutputBytesMax);
    Check(out.empty() || (out.size() >= 2 && out.substr(out.size() - 2) == "\r\n"));
    for (size_t at = 0; (at = out.find("XFORWARD", at)) != out.npos; ++at) ++xforwards_;
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] == '\r') Check(out[i + 1] == '\n');
      if (out[i] == '\n') Check(i > 0 && out[i - 1] == '\r');
    }
    if (session_.state() == State::kBody) Check(out.empty());
  }

  void CheckOutcomes() {
    const std::vector<Outcome>& outcomes = session_.outcomes();
    Check(outcomes.size() == recipients_.size());
    Check(!early_ || !session_.reusable());
    const std::vector<bool> served = Served();
    std::string all;
    for (size_t i = 0; i < outcomes.size(); ++i) {
      const Outcome& outcome = outcomes[i];
      Check(outcome.recipient_number() == recipients_[i].number());
      Check(outcome.action() != Outcome::ACTION_UNSPECIFIED);
      Check(outcome.text().size() <= kTextBytesMax);
      Check(outcome.status().size() >= 5);
      const bool sent = outcome.action() == Outcome::ACTION_SENT;
      Check(sent == (outcome.status()[0] == '2'));
      Check(!sent || served[i]);
      all += outcome.SerializeAsString() + "\n";
    }
    // Decided once.
    Check(!decided_ || all == fates_);
    decided_ = true;
    fates_ = all;
  }

  Envelope envelope_;
  std::vector<Recipient> recipients_;
  Session session_;
  int begun_ = 0;
  // Of the transaction: what the server has answered.
  const bool lmtp_;
  ReplyParser parser_;
  std::vector<int> codes_;
  size_t xforwards_ = 0;
  bool decided_ = false;
  bool early_ = false;
  std::string fates_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  Play play(data[0] % 64, data[1] % 5, data[1] / 5);
  if (data[0] >= 64) play.Stream((data[0] & 64) != 0 ? ",@" : ",=", 1);
  if (data[0] >= 128) play.ToBody();
  play.Stream({reinterpret_cast<const char*>(data) + 3, size - 3}, 1 + data[2]);
  play.End();
  return 0;
}
