// The client's side of one SMTP (RFC 5321) or LMTP (RFC 2033) connection, without I/O: bytes in,
// bytes out, and a state that says what the connection is for now.
//
//   Opened() ─▶ kReplies ─▶ kReady ─Begin─▶ kReplies ─▶ kBody ─BodySent─▶ kReplies ─▶ kDone
//   ─Reset─▶ ... kReady
//                  └──▶ kFailed (the session ends before a transaction began)
//
// After each call, the caller sends what TakeOutput gives and looks at state(). kReplies: read, for
// at most the time limit of step(). kBody: write the contents through smtp::DataWriter, dot
// included, then BodySent. kDone: each recipient has its outcome in outcomes(); the connection may
// serve again when reusable(), through Reset. kFailed: failure() is the outcome of everybody.
//
// Outcomes, status codes and texts are those that Postfix's client logs: "host mx[192.0.2.1] said:
// 550 5.1.1 ... (in reply to RCPT TO command)", "lost connection with mx[192.0.2.1] while sending
// RCPT TO". A reply of 4xx defers, 5xx bounces, anything unexpected bounces with 5.5.0.
//
// EHLO, then HELO when EHLO is refused (or as always_send_ehlo and never_send_ehlo have it). Used
// when offered and not discarded: PIPELINING (RFC 2920; XFORWARD, MAIL, all RCPT and DATA go as one
// group), SIZE (RFC 1870; a message over the server's limit bounces with 5.3.4 unsent), 8BITMIME
// (RFC 6152; BODY is passed on as the message declared it; without it, converts() says that the
// contents go as 7 bit; who offers SMTPUTF8 has it, said or not), DSN (RFC 3461; what the sender
// asked for is passed on, and ORCPT is the original address where nobody said one), SMTPUTF8 (RFC
// 6531; said where the sender asked for it; a transaction that needs it, by the message's header,
// the sender or one of its own recipients, bounces with 5.6.7 unsent where it is not offered),
// XFORWARD (Postfix's; NAME, ADDR, PORT, PROTO,
// HELO, IDENT and SOURCE of what the envelope knows).
//
// A banner of nothing but "220" and stars is a PIX firewall's; the workarounds are Postfix's.
//
// A line without a reply code is no reply: the next one is waited for, as in Postfix. In a group of
// commands that can be the answer to another command, so notes() has a warning of it.
//
// STARTTLS (RFC 3207) and AUTH (RFC 4954) are not here. Their place is Introduced(), behind the
// reply to EHLO: it is where the session becomes kReady, and where features_ are to be forgotten
// and EHLO said again once the bytes go through TLS. Not here, too: CHUNKING.
//
// A probe (Envelope.probe) ends behind the replies to RCPT, which are its recipients' outcomes;
// DATA is never said.
//
// A server that answers the dot before it was sent is believed, and not spoken to again: whether
// another answer is on its way nobody knows.
//
// Files: session.cc (life and failures), session_greeting.cc (to kReady), session_envelope.cc (what
// is said of a transaction), session_transaction.cc (what the server says to it), session_words.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/smtp/reply.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/smtp/core/ehlo_keywords.h"

namespace postfleet::delivery::smtp {

// Why a recipient was deferred whose delivery was called off (4.3.2): by an administrator, or since
// whoever asked for it is gone.
inline constexpr std::string_view kStoppedText = "delivery was stopped before it was complete";

// Who is spoken to, as texts name it: "mx.example[192.0.2.1]".
struct Peer {
  std::string host;
  std::string address;
  uint16_t port = 0;  // 0: a unix socket

  std::string ToString() const { return host + "[" + address + "]"; }
  std::string WithPort() const {
    return port == 0 ? ToString() : ToString() + ":" + std::to_string(port);
  }
};

// A line for the log that is about the session, not a recipient.
struct SessionNote {
  bool is_warning = false;
  std::string text;
};

struct SessionOptions {
  // RFC 2033: LHLO, and a reply behind the dot for each recipient that was accepted.
  bool lmtp = false;
  // LMTP, without DSN: what was sent is in a mailbox now, rather than relayed.
  bool lmtp_assume_final = false;
  std::string helo_name;
  // Whose mail the connection was made for; for notes.
  std::string queue_id;
  // A server that answers EHLO with this name is ourselves: 5.4.6. Looked at only with detect_loop.
  std::string myhostname;
  bool detect_loop = true;
  // A 5xx greeting is taken as 4xx.
  bool skip_5xx_greeting = true;
  // See converts().
  bool convert_content = true;
  // The host is one of the best: no other could do better where it turns out to be ourselves.
  bool is_best_host = true;
  // SMTP: EHLO even where the banner does not say ESMTP; HELO even where it does.
  bool always_send_ehlo = true;
  bool never_send_ehlo = false;
  EhloKeywords discarded_keywords;
  // What a PIX firewall is spared.
  PixWorkarounds pix_workarounds;
  // False: addresses go out without quotes, as they are stored.
  bool quote_addresses = true;
  bool send_xforward = false;
  // UTF-8 in replies is printable.
  bool keep_utf8_replies = false;
  // smtp_reply_filter; without one, replies are as they are.
  postfleet::smtp::ReplyParser::LineFilter reply_filter;
};

// What is to be sent. Envelope and recipients must live until kDone.
struct Transaction {
  std::string queue_id;  // for XFORWARD and notes
  const mail::v1::Envelope* envelope = nullptr;
  std::vector<const mail::v1::Recipient*> recipients;
  uint64_t content_bytes = 0;  // as stored

  // Of the contents with CRLF (RFC 1870), as far as the envelope knows.
  uint64_t WireBytes() const { return content_bytes + envelope->content_lines(); }
};

class Session {
 public:
  enum class State { kNew, kReplies, kReady, kBody, kDone, kFailed };
  // What the server is given time for.
  enum class Step {
    kGreeting,
    kEhlo,
    kHelo,
    kXforwardName,
    kXforwardHelo,
    kMail,
    kRcpt,
    kData,
    kBody,
    kDot,
    kReset
  };

  // `nexthop` is for the text of a loop.
  Session(Peer peer, std::string nexthop, SessionOptions options);

  // The connection is there; the greeting is awaited.
  void Opened();
  // kReady only. An address that cannot be written on a line bounces here.
  void Begin(Transaction transaction);
  // Bytes from the server, in any state: what comes early is kept for its turn.
  void Received(std::string_view bytes);
  // kBody only: the contents and the dot have been handed to the system.
  void BodySent();
  // The connection ended, or failed to be written to.
  void Lost();
  // step()'s time is over.
  void TimedOut();
  // kBody only: the contents cannot be had, for `why` if that is known. The dot must not be sent.
  void ContentFailed(std::string_view why = {});
  // kBody only: they can never be sent in the form that is due. No dot either.
  void ContentUnfit(std::string status, std::string why);
  // Nobody wants the transaction any more. Only before the dot is sent.
  void Cancel();
  // kDone and reusable(): makes the session ready for the next transaction (with RSET if the last
  // one was left open).
  void Reset();
  // Appends QUIT; the session is over.
  void Quit();

  State state() const { return state_; }
  Step step() const { return step_; }
  // What is to be sent; cleared by the caller.
  std::string& output() { return output_; }

  // kDone: one for each recipient, in the transaction's order.
  std::vector<mail::v1::Outcome>& outcomes() { return outcomes_; }
  // kDone: the connection can take another transaction.
  bool reusable() const { return !broken_; }
  // kFailed: without recipient number. kDone: set when the session, not the server's judgement,
  // ended the transaction.
  const std::optional<mail::v1::Outcome>& failure() const { return failure_; }
  // Of the transaction: the server takes 7 bits only, so contents go converted; how many bytes that
  // makes nobody knows.
  bool converts() const {
    return options_.convert_content && !features_.eight_bit_mime &&
           !transaction_.envelope->body_7bit();
  }
  // Nothing of this transaction has been answered yet: after a failure of a reused connection it
  // can be tried anew.
  bool unanswered() const { return unanswered_; }
  // kDone by ContentFailed, ContentUnfit or Cancel: no other host will do better.
  bool given_up() const { return given_up_; }
  // kFailed or kDone by something of our own, contents or a table: it says nothing of the server.
  bool our_failure() const { return our_failure_; }
  // From kReady on: a pause belongs before the dot, behind what was sent of the contents.
  bool delays_dot() const { return pix_.delay_dotcrlf; }
  // The connection can still be told QUIT.
  bool can_quit() const { return !mute_; }
  // For the log: "host ... greeted me with my own hostname ...". At most kNotesMax.
  std::vector<SessionNote> TakeNotes() { return std::exchange(notes_, {}); }
  static constexpr size_t kNotesMax = 20;
  const Peer& peer() const { return peer_; }

 private:
  struct Features {
    bool pipelining = false;
    bool eight_bit_mime = false;
    bool dsn = false;
    bool smtputf8 = false;
    bool size = false;
    uint64_t size_limit_bytes = 0;  // 0: none
    XforwardNames xforward;
  };
  using Outcome = mail::v1::Outcome;
  using ServerReply = postfleet::smtp::ServerReply;

  // Life and failures.
  void Await(Step step);
  void TakeReply(const ServerReply& reply);
  void OnReply(const ServerReply& reply);
  void OnReset(const ServerReply& reply);
  void NoteJunk(const ServerReply& reply);
  void Note(bool is_warning, std::string text);
  void Finish() { state_ = State::kDone; }
  void Fail(Outcome failure);
  void FailConnection(const char* status, std::string text);
  bool RefusedBeforeTheLoss();
  void DecideOpen(const Outcome& outcome);
  Outcome Negative(const ServerReply& reply, std::string_view said) const;
  // "host X refused to talk to me: 554 no".
  Outcome Rejection(const ServerReply& reply) const;
  // "host X said: 550 no (in reply to RCPT TO command)".
  Outcome Refusal(const ServerReply& reply, std::string_view command) const;
  const char* Doing() const;

  // To kReady.
  void OnGreeting(const ServerReply& reply);
  void OnHelo(const ServerReply& reply);
  bool SaysEsmtp(const ServerReply& reply);
  void SpareFirewall(const ServerReply& reply);
  bool TakeFeatures(const ServerReply& reply);
  void TakeFeature(std::string_view word, std::string_view words);
  void Introduced() { state_ = State::kReady; }

  // What is said of a transaction.
  bool RefuseUnsendable();
  bool RequestsUtf8() const;
  bool RequiresUtf8() const;
  void AppendGroup();
  bool IsProbe() const { return transaction_.envelope->probe(); }
  bool WantsXforward(Step step) const;
  Step FirstStep() const;
  Step StepBehind(Step step) const;
  void AppendCommand(Step step);
  void AppendXforward(Step step);
  void AppendMail();
  void AppendRcpt(size_t recipient);
  void AppendAddress(const std::string& address);

  // What the server says to it.
  void OnXforward(const ServerReply& reply);
  void OnMail(const ServerReply& reply);
  void OnRcpt(const ServerReply& reply);
  void OnData(const ServerReply& reply);
  void OnDot(const ServerReply& reply);
  // LMTP: of one recipient.
  void OnRecipientDot(const ServerReply& reply);
  // Behind the reply to MAIL or an RCPT.
  void AwaitNextInEnvelope();
  Outcome Sent(const ServerReply& reply) const;

  const Peer peer_;
  const std::string nexthop_;
  const SessionOptions options_;

  State state_ = State::kNew;
  Step step_ = Step::kGreeting;
  Features features_;
  postfleet::smtp::ReplyParser parser_;
  std::string early_;  // came while nothing was awaited
  std::string output_;
  std::vector<SessionNote> notes_;
  PixWorkarounds pix_;  // in force
  // Not to be used again: closed, lost, or said 421.
  bool broken_ = false;
  // Not even QUIT would be understood.
  bool mute_ = false;
  std::optional<mail::v1::Outcome> failure_;

  // Of the transaction.
  Transaction transaction_;
  std::vector<mail::v1::Outcome> outcomes_;  // action unspecified: not decided
  size_t next_rcpt_ = 0;                     // whose reply comes next
  size_t accepted_ = 0;
  size_t next_dot_ = 0;  // LMTP: whose reply behind the dot comes next
  bool mail_refused_ = false;
  bool unanswered_ = true;
  bool given_up_ = false;
  bool our_failure_ = false;
  // Not ended by a dot.
  bool left_open_ = false;
};

}  // namespace postfleet::delivery::smtp
