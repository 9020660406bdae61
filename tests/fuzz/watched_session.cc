#include "tests/fuzz/watched_session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/mail/address.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using queue::v1::EnqueueResult;

constexpr size_t kReplyLineBytesMax = 512;
// A completed address is longer than it was, for each comma of a header field.
constexpr size_t kFieldGrowthMax = 64;
constexpr size_t kSlackBytes = 64 << 10;
constexpr size_t kRecipientBytes = 256;  // of one, without its texts

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "watched_session.cc:%d: the promise does not hold\n", line);
  std::abort();
}

bool HasLineEnd(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos;
}

// Content as RFC 5321, 4.5.2 has it, line by line.
std::string Decoded(std::string_view raw, bool chunks, bool bare_newlines_are_free) {
  std::string content;
  bool after_bare = false;
  while (!raw.empty()) {
    const size_t end = raw.find('\n');
    std::string_view line = raw.substr(0, end);
    if (end == raw.npos) {
      Check(chunks);
      return content += Concat(line, '\n');
    }
    raw.remove_prefix(end + 1);
    const bool bare = !line.ends_with('\r') && !bare_newlines_are_free;
    while (line.ends_with('\r')) {
      line.remove_suffix(1);
      if (!bare_newlines_are_free) break;
    }
    if (line == "." && !chunks) {
      if (!bare && !after_bare) break;
    } else {
      if (line.starts_with('.') && !chunks) line.remove_prefix(1);
      content += Concat(line, '\n');
    }
    after_bare = bare;
  }
  Check(raw.empty());
  return content;
}

}  // namespace

WatchedSession::WatchedSession(const SessionConfig& config, ConnectionFacts facts,
                               size_t piece_bytes)
    : config_(config),
      bare_newlines_are_free_(facts.bare_newline_excluded ||
                              config.bare_newline == smtp::BareNewline::kNo),
      piece_bytes_(piece_bytes),
      session_(config, std::move(facts), *this) {}

std::string WatchedSession::NextQueueId() {
  return queue_reached ? Concat("4jXQUEUEID", ++ids_) : "";
}

// ---- Events ----

template <typename Event>
void WatchedSession::Happens(const Event& event) {
  const bool over = closed_ || gone_;
  Actions actions;
  event(&actions);
  if (over) {
    Check(actions.log.empty() && actions.rejects.empty() && actions.submits.empty());
    Check(!actions.resolve && !actions.flush && actions.reply.empty() && actions.delay_ms == 0);
    Check(!actions.accepted && !actions.limited && !actions.close);
  }
  Take(actions);
  CheckWaits();
  if (!settling_) Settle();
}

void WatchedSession::Settle() {
  settling_ = true;
  while (AnswerOne()) {
  }
  settling_ = false;
}

// Whatever need not be told. False: nothing.
bool WatchedSession::AnswerOne() {
  if (closed_ || gone_) return false;
  if (at_once.delay && delay_waits_) {
    EndDelay();
  } else if (at_once.lookup && resolve_) {
    AnswerLookup();
  } else if (at_once.flush && flush_waits_) {
    AnswerFlush();
  } else if (!unanswered_.empty() &&
             (at_once.queue || (chunks_are_taken && !unanswered_.front().final))) {
    AnswerQueue();
  } else if (wire_read_ < wire_.size() && session_.WantsInput()) {
    ReadWire();
  } else {
    return false;
  }
  return true;
}

void WatchedSession::Connect(bool ready) {
  Happens([&](Actions* actions) {
    ready ? session_.OnConnect(actions) : session_.OnNotReady(actions);
  });
}

void WatchedSession::Send(std::string_view bytes) {
  if (closed_ || gone_) return;
  wire_.erase(0, std::exchange(wire_read_, 0));
  wire_ += bytes;
  Settle();
}

void WatchedSession::ReadWire() {
  const std::string piece = wire_.substr(wire_read_, piece_bytes_);
  wire_read_ += piece.size();
  lines_sent_ += std::count(piece.begin(), piece.end(), '\n');
  if (session_.InData()) raw_content_ += piece;
  Happens([&](Actions* actions) { session_.OnBytes(piece, actions); });
  const size_t bytes_max = config_.chunk_bytes + kFieldGrowthMax * config_.header_size_limit +
                           piece.size() + kSlackBytes +
                           static_cast<size_t>(config_.recipient_limit) *
                               (kRecipientBytes + 3 * config_.line_length_limit);
  Check(session_.buffered_bytes() <= bytes_max);
}

void WatchedSession::AnswerLookup() {
  if (!resolve_) return;
  const lookup::v1::Answer answer = Answer(*std::exchange(resolve_, std::nullopt));
  Happens([&](Actions* actions) { session_.OnResolved(answer, actions); });
}

void WatchedSession::AnswerQueue() {
  if (unanswered_.empty()) return;
  const Unanswered asked = unanswered_.front();
  unanswered_.pop_front();
  Message& message = messages_[asked.queue_id];
  EnqueueResult::Code code = queue_code;
  if (!asked.final && chunks_are_taken) code = EnqueueResult::COMMITTED;
  // The queue has all of a message or none of it.
  if (asked.final && message.chunk_refused) code = EnqueueResult::REFUSED;
  if (code != EnqueueResult::COMMITTED) message.chunk_refused = true;
  const bool live = !closed_ && !gone_ && !session_.ended();
  message.committed = asked.final && code == EnqueueResult::COMMITTED;
  Happens([&](Actions* actions) {
    session_.OnEnqueued(asked.queue_id, asked.final, code, actions);
    Check(actions->accepted == (live && message.committed));
  });
}

void WatchedSession::AnswerFlush() {
  if (!std::exchange(flush_waits_, false)) return;
  Happens([&](Actions* actions) { session_.OnFlushed(flush_starts, actions); });
}

void WatchedSession::EndDelay() {
  if (!std::exchange(delay_waits_, false)) return;
  Happens([&](Actions* actions) { session_.OnDelayOver(actions); });
}

void WatchedSession::Timeout() {
  if (closed_ || gone_ || !session_.WantsInput()) return;
  Happens([&](Actions* actions) { session_.OnTimeout(actions); });
}

void WatchedSession::Shutdown() {
  Happens([&](Actions* actions) { session_.OnShutdown(actions); });
}

void WatchedSession::Disconnect() {
  if (closed_ || gone_) return;
  delay_waits_ = false;
  wire_read_ = wire_.size();
  Happens([&](Actions* actions) {
    session_.OnDisconnect(actions);
    Check(actions->reply.empty() && !actions->close && actions->delay_ms == 0);
  });
  gone_ = true;
  Check(session_.ended());
}

void WatchedSession::Finish() {
  Disconnect();
  AnswerLookup();
  AnswerFlush();
  while (!unanswered_.empty()) AnswerQueue();
  Shutdown();
  Check(ends_logged_ == 1);
  Check(open_id_.empty());
  for (const auto& [id, message] : messages_) {
    Check(message.handed_over != message.taken_back);
    Check(!message.told || message.committed);
  }
}

lookup::v1::Answer WatchedSession::Answer(const Resolve& resolve) const {
  lookup::v1::Answer answer = ScriptedSession::Answer(resolve.recipient, resolve.check_listed);
  switch (lookup) {
    case Lookup::kByTable:
      break;
    case Lookup::kTableFailed:
      answer.set_failure("hash:/x: cannot be read");
      break;
    case Lookup::kFailed:
      answer.clear_recipient();
      answer.set_failure("lookup is not there");
      break;
    case Lookup::kMalformed:
      answer.set_transport("error");
      answer.set_nexthop("5.1.3 bad address syntax");
      answer.set_address_class(lookup::v1::ADDRESS_CLASS_UNSPECIFIED);
      break;
    case Lookup::kNoSuchUser:
      answer.set_address_class(lookup::v1::ADDRESS_CLASS_LOCAL);
      answer.set_listed(lookup::v1::Answer::LISTED_NO);
      break;
    case Lookup::kAlias:
      answer.set_address_class(lookup::v1::ADDRESS_CLASS_VIRTUAL_ALIAS);
      answer.set_listed(lookup::v1::Answer::LISTED_YES);
      break;
    case Lookup::kErrorTransport:
      answer.set_transport("error");
      answer.set_nexthop(Concat("4.2.1 ", std::string(600, 'x'), "\r\n250 \xff"));
      break;
    case Lookup::kGarbage:
      answer = {};
      break;
  }
  return answer;
}

// ---- What comes of them ----

void WatchedSession::Take(const Actions& actions) {
  for (const LogLine& line : actions.log) {
    if (line.text.text().starts_with("disconnect from ")) ++ends_logged_;
  }
  // What was replied to RCPT comes before the message, what is replied to it behind it.
  CheckLines(actions.reply);
  for (const Submit& submit : actions.submits) CheckSubmit(submit);
  if (actions.resolve) {
    Check(!resolve_ && !flush_waits_);
    resolve_ = actions.resolve;
  }
  if (actions.flush) {
    Check(!resolve_ && !flush_waits_ && !HasLineEnd(*actions.flush));
    flush_waits_ = true;
  }
  if (actions.delay_ms != 0) {
    Check(actions.delay_ms > 0 && !delay_waits_ && !actions.close);
    delay_waits_ = true;
  }
  if (actions.close) {
    Check(session_.ended() && reply_code_ == 0);
    closed_ = true;
    delay_waits_ = false;
    wire_read_ = wire_.size();
  }
}

void WatchedSession::CheckWaits() const {
  if (closed_ || gone_) return;
  if (session_.ended()) {
    // Gone, or the last reply is held back.
    return;
  }
  const bool waits = delay_waits_ || resolve_ || flush_waits_ || !unanswered_.empty();
  Check(session_.WantsInput() || waits);
}

void WatchedSession::CheckLines(std::string_view reply) {
  transcript_ += reply;
  while (!reply.empty()) {
    const size_t end = reply.find("\r\n");
    Check(end != reply.npos);
    const std::string_view line = reply.substr(0, end);
    reply.remove_prefix(end + 2);
    Check(line.size() + 2 <= kReplyLineBytesMax && line.size() >= 4);
    for (const char c : line) Check(c == '\t' || (static_cast<unsigned char>(c) >= 32 && c != 127));
    int code = 0;
    for (const char digit : line.substr(0, 3)) {
      Check(digit >= '0' && digit <= '9');
      code = 10 * code + digit - '0';
    }
    Check(code >= 200 && code < 600 && (reply_code_ == 0 || reply_code_ == code));
    Check(line[3] == ' ' || line[3] == '-');
    reply_code_ = line[3] == '-' ? code : 0;
    if (line[3] == ' ') CheckReply(code, line.substr(4));
  }
}

void WatchedSession::CheckReply(int code, std::string_view text) {
  Check(++replies_ <= lines_sent_ + 2);
  if (code == 354) raw_is_chunks_ = false;
  if (code != 250) return;
  if (text == "2.1.0 Ok") {
    recipients_accepted_ = 0;
    raw_content_.clear();
    raw_is_chunks_ = true;
  }
  if (text == "2.1.5 Ok") ++recipients_accepted_;
  constexpr std::string_view kQueued = "queued as ";
  const size_t queued = text.find(kQueued);
  if (queued == text.npos) return;
  const auto message = messages_.find(std::string(text.substr(queued + kQueued.size())));
  Check(message != messages_.end() && message->second.committed);
  Check(!std::exchange(message->second.told, true));
}

void WatchedSession::CheckSubmit(const Submit& submit) {
  const queue::v1::Submission& submission = submit.submission;
  const std::string& id = submission.queue_id();
  Check(open_id_.empty() || open_id_ == id);
  const bool known = messages_.contains(id);
  Message& message = messages_[id];
  Check(!message.handed_over && !message.taken_back);
  if (submission.abandon()) {
    Check(known && submit.content.empty() && !submission.has_message());
    message.taken_back = true;
    open_id_.clear();
    return;
  }
  Check(submission.chunk() == message.chunks++);
  Check(submission.payload_bytes() == submit.content.size());
  Check(submission.payload_crc32c() == Crc32c(submit.content));
  message.content += submit.content;
  open_id_ = submission.has_message() ? "" : id;
  unanswered_.push_back({id, submission.has_message()});
  const auto waiting =
      std::count_if(unanswered_.begin(), unanswered_.end(),
                    [&](const Unanswered& other) { return other.queue_id == id && !other.final; });
  Check(waiting <= Session::kUnacknowledgedChunksMax);
  if (!submission.has_message()) return;
  message.handed_over = true;
  CheckMessage(message, submission.message());
  transcript_ += Concat(id, '\n', submission.message().SerializeAsString(), message.content);
}

void WatchedSession::CheckMessage(const Message& message, const queue::v1::NewMessage& sent) {
  const std::string& content = message.content;
  Check(sent.content_bytes() == content.size());
  Check(content.starts_with("Received: from ") && content.ends_with('\n'));
  Check(config_.message_size_limit == 0 || content.size() <= config_.message_size_limit);
  if (config_.replace_stray_cr) Check(content.find('\r') == content.npos);
  Check(sent.envelope().content_lines() ==
        static_cast<uint64_t>(std::count(content.begin(), content.end(), '\n')));
  Check(!HasLineEnd(sent.envelope().sender()) && !HasLineEnd(sent.envelope().dsn_envid()));
  Check(sent.recipients_size() >= 1 && sent.recipients_size() <= recipients_accepted_);
  Check(sent.recipients_size() <= config_.recipient_limit);
  for (const auto& recipient : sent.recipients()) {
    Check(!recipient.address().empty() && !HasLineEnd(recipient.address()));
    Check(!HasLineEnd(recipient.original_address()) && !HasLineEnd(recipient.dsn_orcpt()));
  }
  const bool strips = !config_.content_rules.cleanup.strip_bytes.empty();
  if (piece_bytes_ == 1 && !strips) CheckBody(content);
}

void WatchedSession::CheckBody(const std::string& content) const {
  const std::string sent = Decoded(raw_content_, raw_is_chunks_, bare_newlines_are_free_);
  // Behind the first empty line there is body, whatever is in front of it.
  const size_t at = sent.starts_with('\n') ? 0 : sent.find("\n\n");
  if (at == sent.npos) return;
  // Headers of parts are made tidy as that of the message is.
  if (mail::LowerCasedAscii(sent).find("content-type") != sent.npos) return;
  std::string body = sent.substr(at + 1);
  if (config_.replace_stray_cr) std::replace(body.begin(), body.end(), '\r', ' ');
  Check(content.ends_with(body));
}

}  // namespace postfleet::ingress
