// From DATA to the final reply: content through DataReader and Cleanup into chunks, chunks to the
// queue.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/message/address_rewriting.h"
#include "services/ingress/core/header_rewrite_clients.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

using queue::v1::EnqueueResult;

constexpr size_t kFirstChunkCapacity = 6 * 1024;
constexpr size_t kScratchBytes = 4096;
constexpr std::string_view kEndOfMessage = "END-OF-MESSAGE";
// A chunk that is sent early, for want of memory, is at least this long: a flood of tiny chunks
// would cost the queue more than it saves here.
constexpr size_t kEarlyChunkBytesMin = 16 * 1024;

smtp::Verb VerbOf(const Content& content) {
  return content.framing == smtp::DataReader::Framing::kChunk ? smtp::Verb::kBdat
                                                              : smtp::Verb::kData;
}

// Postfix's cleanup writes its queue file, of which the envelope is part, in blocks: whether one
// goes beyond the limit before smtpd stops.
bool CleanupHasSeen(uint64_t limit) {
  constexpr uint64_t kBlockBytes = 4096;
  constexpr uint64_t kEnvelopeBytes = 800;  // with the Received line, more or less
  return limit % kBlockBytes + kEnvelopeBytes > kBlockBytes;
}

bool HasEightBit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace

absl::StatusOr<bool> Session::HeadersAreLocal() const {
  if (config_.header_rewrite_clients == nullptr) return false;
  return config_.header_rewrite_clients->AreLocal(facts_.address, facts_.mynetworks);
}

message::CleanupOptions Session::MakeCleanupOptions() const {
  const Transaction& transaction = *transaction_;
  message::CleanupOptions options = config_.content_rules.cleanup;
  options.drop_headers = config_.drop_headers;
  options.header_bytes_max = config_.header_size_limit;
  options.hop_count_max = config_.hopcount_limit;
  options.replace_stray_cr = config_.replace_stray_cr;
  if (transaction.local_headers) {
    options.rewriting = &config_.local_rewriting;
  } else if (config_.rewrite_remote_headers) {
    options.rewriting = &config_.remote_rewriting;
  }
  if (options.rewriting != nullptr || config_.always_add_missing_headers) {
    options.missing =
        message::MissingFields{.queue_id = transaction.queue_id,
                               .myhostname = config_.myhostname,
                               .sender = transaction.completed_sender,
                               .undisclosed_recipients = config_.undisclosed_recipients_header,
                               .time = surroundings_.MailTimeAt(mail_ms_)};
  }
  return options;
}

void Session::BeginData(smtp::DataReader::Framing framing) {
  Transaction& transaction = *transaction_;
  const smtp::BareNewline mode =
      facts_.bare_newline_excluded ? smtp::BareNewline::kNo : config_.bare_newline;
  const std::string received = message::FormatSmtpReceived({
      .helo_name = helo_,
      .client_name = facts_.name,
      .client_address = facts_.address,
      .myhostname = config_.myhostname,
      .mail_name = config_.mail_name,
      .protocol = message::ProtocolName(esmtp_, false, !login_.empty(), transaction.smtputf8),
      .queue_id = transaction.queue_id,
      .recipient = transaction.recipients.size() == 1
                       ? mail::QuoteAddress(transaction.recipients.front().given)
                       : std::string(),
      .time = surroundings_.MailTimeAt(surroundings_.WallMillis()),
  });
  transaction.content = std::make_unique<Content>(mode, framing, config_.line_length_limit,
                                                  MakeCleanupOptions(), received);
  size_t capacity = kFirstChunkCapacity;
  if (transaction.size_hint > capacity) capacity = transaction.size_hint + 1024;
  transaction.content->chunk.reserve(std::min(capacity, config_.chunk_bytes));
  phase_ = Phase::kData;
  where_ = "DATA";
}

void Session::ReadData(std::string_view* in, Actions* actions) {
  Content& content = *transaction_->content;
  const bool chunked = content.framing == smtp::DataReader::Framing::kChunk;
  const std::string_view part = chunked ? in->substr(0, chunk_.left) : *in;
  size_t consumed = 0;
  if (content.discarding) {
    char scratch[kScratchBytes];
    consumed = content.reader.Read(part, scratch, sizeof(scratch)).consumed;
  } else {
    consumed = TakeContent(part, actions);
  }
  content.bytes_read += consumed;
  in->remove_prefix(consumed);
  if (!chunked) {
    if (content.reader.done()) EndOfData(actions);
    return;
  }
  chunk_.left -= consumed;
  if (chunk_.left == 0) EndOfChunk(actions);
}

// The last line of the last chunk may lack its end.
void Session::FinishContent() {
  Content& content = *transaction_->content;
  char rest[smtp::DataReader::kHeldBytesMax];
  const size_t size = content.reader.FinishChunks(rest);
  if (!content.discarding) content.cleanup.Append({rest, size}, &content.chunk);
}

// As Postfix counts what comes in: each line with CRLF.
bool Session::TooBig() const {
  const uint64_t limit = config_.message_size_limit;
  const Content& content = *transaction_->content;
  return limit > 0 && std::max(content.cleanup.output_bytes(), content.reader.wire_bytes()) > limit;
}

// Returns how much of `in` it took.
size_t Session::TakeContent(std::string_view in, Actions* actions) {
  Content& content = *transaction_->content;
  size_t consumed = 0;
  if (content.cleanup.in_body()) {
    // Straight into the chunk: the only copy of the body.
    const size_t old_size = content.chunk.size();
    const size_t room = std::max(config_.chunk_bytes, old_size + 1) - old_size;
    const size_t size = std::min(in.size(), room) + smtp::DataReader::kHeldBytesMax + 1;
    content.chunk.resize(old_size + size);
    const auto progress = content.reader.Read(in, content.chunk.data() + old_size, size);
    content.chunk.resize(old_size + progress.produced);
    content.cleanup.FilterBody(content.chunk.data() + old_size, progress.produced);
    consumed = progress.consumed;
  } else {
    char scratch[kScratchBytes];
    const auto progress = content.reader.Read(in, scratch, sizeof(scratch));
    content.cleanup.Append({scratch, progress.produced}, &content.chunk);
    consumed = progress.consumed;
  }

  LogNotes(actions);
  const bool hopeless =
      content.cleanup.too_many_hops() || content.cleanup.defect() == message::Defect::kCharacter;
  if (TooBig() || hopeless) {
    content.discarding = true;
    Abandon(actions);
    content.chunk = {};
    return consumed;
  }
  const bool early = content.chunk.size() >= kEarlyChunkBytesMin && surroundings_.BuffersFull();
  if ((content.chunk.size() >= config_.chunk_bytes || early) && !content.reader.done()) {
    SubmitChunk(actions);
  }
  return consumed;
}

namespace {

Submit MakeSubmit(const std::string& queue_id, Content& content) {
  Submit submit;
  submit.content = std::exchange(content.chunk, {});
  submit.submission.set_queue_id(queue_id);
  submit.submission.set_chunk(content.chunks_sent++);
  submit.submission.set_payload_bytes(static_cast<uint32_t>(submit.content.size()));
  submit.submission.set_payload_crc32c(Crc32c(submit.content));
  content.bytes_sent += submit.content.size();
  content.lines_sent +=
      static_cast<uint64_t>(std::count(submit.content.begin(), submit.content.end(), '\n'));
  return submit;
}

}  // namespace

void Session::SubmitChunk(Actions* actions) {
  actions->submits.push_back(MakeSubmit(transaction_->queue_id, *transaction_->content));
  ++transaction_->unacknowledged_chunks;
  transaction_->content->chunk.reserve(config_.chunk_bytes);
}

void Session::EndOfData(Actions* actions) {
  Content& content = *transaction_->content;
  where_ = kEndOfMessage;
  phase_ = Phase::kCommand;
  const bool bare_lf_refused =
      content.reader.saw_bare_lf() && config_.bare_newline == smtp::BareNewline::kReject;
  if (!content.discarding && !bare_lf_refused) {
    content.cleanup.Finish(&content.chunk);
    LogNotes(actions);
  }
  if (transaction_->failure != EnqueueResult::COMMITTED) {
    AnswerMessage(transaction_->failure, actions);
    return;
  }
  if (RefuseBareNewline(actions)) {
    EndRefused(actions);
    EndIfCodeSaysSo(actions);
    return;
  }
  current_verb_ = smtp::Verb::kUnknown;
  Judge(Stage::kEndOfData, std::string(kEndOfMessage), &Session::EndOfDataDecided, actions);
}

bool Session::EndOfDataDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  // The queue may have refused a chunk while the list took its time: what came is taken back.
  if (transaction_->failure != EnqueueResult::COMMITTED) {
    AnswerMessage(transaction_->failure, actions);
    return false;
  }
  if (refusal) Refuse(kEndOfMessage, *refusal, actions);
  if (!refusal && !RefuseContent(actions)) {
    SubmitMessage(actions);
    return true;
  }
  EndRefused(actions);
  return false;
}

void Session::EndRefused(Actions* actions) {
  const smtp::Verb verb = VerbOf(*transaction_->content);
  DropTransaction(actions);
  FinishCommand(verb, false, actions);
}

bool Session::RefuseBareNewline(Actions* actions) {
  if (!transaction_->content->reader.saw_bare_lf()) return false;
  saw_bare_lf_ = true;
  if (config_.bare_newline != smtp::BareNewline::kReject) return false;
  Reply(config_.bare_newline_reject_code,
        Concat("5.5.2 ", config_.myhostname, " Error: bare <LF> received"), actions);
  LogReject(kEndOfMessage, 0, "bare <LF> received", actions);
  CountReject(actions, {kEndOfMessage, config_.bare_newline_reject_code, RejectReason::kProtocol});
  return true;
}

// RFC 7504, and RFC 5321, 4.2.3: these codes close the connection.
void Session::EndIfCodeSaysSo(Actions* actions) {
  const int code = config_.bare_newline_reject_code;
  if (code == 421 || code == 521) End("", actions);
}

bool Session::RefuseContent(Actions* actions) {
  const Transaction& transaction = *transaction_;
  const Content& content = *transaction.content;
  if (TooBig()) {
    const std::string warning =
        Concat("warning: ", transaction.queue_id, ": queue file size limit exceeded");
    const bool came_too_much = content.reader.wire_bytes() > config_.message_size_limit;
    if (came_too_much) Log(LogProgram::kSmtpd, warning, actions);
    if (!came_too_much || CleanupHasSeen(config_.message_size_limit)) {
      Log(LogProgram::kCleanup, warning, actions);
    }
    CountReject(actions, {kEndOfMessage, 552, RejectReason::kSize});
    Reply(552, "5.3.4 Error: message file too big", actions);
    return true;
  }
  if (content.cleanup.too_many_hops()) {
    CountReject(actions, {kEndOfMessage, 554, RejectReason::kContent});
    Reply(554, "5.4.0 Error: too many hops", actions);
    return true;
  }
  if (const auto defect = content.cleanup.defect()) {
    const bool character = defect == message::Defect::kCharacter;
    CountReject(actions, {kEndOfMessage, 550, RejectReason::kContent});
    Reply(550, Concat(character ? "5.7.1 " : "5.6.0 ", message::DefectText(*defect)), actions);
    return true;
  }
  return false;
}

void Session::SubmitMessage(Actions* actions) {
  Transaction& transaction = *transaction_;
  Content& content = *transaction.content;
  Submit submit = MakeSubmit(transaction.queue_id, content);
  auto* message = submit.submission.mutable_message();
  message->set_content_bytes(content.bytes_sent);
  auto* envelope = message->mutable_envelope();
  envelope->set_sender(transaction.completed_sender);
  envelope->set_arrival_ms(mail_ms_);
  // What the header says goes before what the client declared.
  const bool says_8bit = config_.content_rules.detect_8bit && content.cleanup.says_8bit();
  const smtp::Body body = says_8bit ? smtp::Body::k8BitMime : transaction.body;
  envelope->set_body_8bitmime(body == smtp::Body::k8BitMime);
  envelope->set_body_7bit(body == smtp::Body::k7Bit);
  envelope->set_content_lines(content.lines_sent);
  WriteOrigin(transaction.local_headers, envelope->mutable_origin());
  envelope->set_dsn_return(transaction.dsn_return);
  envelope->set_dsn_envid(std::move(transaction.dsn_envid));
  envelope->set_verp_delimiters(std::move(transaction.verp));
  const bool header_needs_utf8 = content.cleanup.header_has_8bit();
  bool needs_utf8 = header_needs_utf8 || HasEightBit(envelope->sender());
  absl::flat_hash_set<std::string> seen;
  for (AcceptedRecipient& accepted : transaction.recipients) {
    // Said twice is meant once (cleanup's duplicate filter).
    if (transaction.recipients.size() > 1 &&
        !seen.insert(mail::LowerCasedAscii(Concat(accepted.address, '\n', accepted.given, '\n',
                                                  accepted.dsn_notify, '\n', accepted.dsn_orcpt)))
             .second) {
      continue;
    }
    auto* recipient = message->add_recipients();
    if (accepted.given != accepted.address) {
      recipient->set_original_address(std::move(accepted.given));
    }
    recipient->set_address(std::move(accepted.address));
    recipient->set_dsn_notify(accepted.dsn_notify);
    recipient->set_dsn_orcpt(std::move(accepted.dsn_orcpt));
    needs_utf8 = needs_utf8 || HasEightBit(recipient->address());
  }
  const bool detected = config_.smtputf8 && config_.content_rules.detect_smtputf8 && needs_utf8;
  const bool smtputf8 = transaction.smtputf8 || detected;
  envelope->set_smtputf8(smtputf8 && needs_utf8);
  envelope->set_smtputf8_requested(smtputf8);
  envelope->set_smtputf8_header(smtputf8 && header_needs_utf8);
  transaction.wire_bytes = content.reader.wire_bytes();
  transaction.content.reset();
  transaction.recipient_bytes = 0;
  phase_ = Phase::kAwaitingCommit;
  actions->submits.push_back(std::move(submit));
}

void Session::OnChunkEnqueued(EnqueueResult::Code code, Actions* actions) {
  Transaction& transaction = *transaction_;
  transaction.unacknowledged_chunks = std::max(0, transaction.unacknowledged_chunks - 1);
  if (code != EnqueueResult::COMMITTED && transaction.failure == EnqueueResult::COMMITTED) {
    transaction.failure = code;
    if (transaction.content != nullptr) {
      Abandon(actions);
      transaction.content->discarding = true;
      transaction.content->chunk = {};
    }
  }
  if (phase_ == Phase::kData) Resume(actions);
}

void Session::OnEnqueued(std::string_view queue_id, bool final, EnqueueResult::Code code,
                         Actions* actions) {
  if (transaction_ == nullptr || transaction_->queue_id != queue_id) return;
  Transaction& transaction = *transaction_;
  if (!final) {
    OnChunkEnqueued(code, actions);
    return;
  }
  if (phase_ != Phase::kAwaitingCommit) return;
  const EnqueueResult::Code failure = transaction.failure;
  AnswerMessage(
      code == EnqueueResult::COMMITTED || failure == EnqueueResult::COMMITTED ? code : failure,
      actions);
  Resume(actions);
}

void Session::AnswerMessage(EnqueueResult::Code code, Actions* actions) {
  const std::string queue_id = std::move(transaction_->queue_id);
  const bool chunked = chunk_.state != Chunk::kNone;
  const uint64_t wire_bytes = transaction_->wire_bytes;
  transaction_.reset();
  forwarded_.clear();
  chunk_ = {};
  phase_ = Phase::kCommand;
  const bool good = code == EnqueueResult::COMMITTED;
  if (good) {
    // The error count is forgiven before the reply, so that it is not delayed.
    errors_ = 0;
    junk_commands_ = 0;
    transcript_.Forgive();
    actions->accepted = true;
    Reply(250,
          chunked ? Concat("2.0.0 Ok: ", wire_bytes, " bytes queued as ", queue_id)
                  : Concat("2.0.0 Ok: queued as ", queue_id),
          actions);
  } else {
    ReplyFailure(code, actions);
  }
  FinishCommand(chunked ? smtp::Verb::kBdat : smtp::Verb::kData, good, actions);
}

void Session::ReplyFailure(EnqueueResult::Code code, Actions* actions) {
  if (code == EnqueueResult::DISK_FULL) {
    CountReject(actions, {kEndOfMessage, 452, RejectReason::kSpace});
    Reply(452, "4.3.1 Insufficient system storage", actions);
  } else {
    CountReject(actions, {kEndOfMessage, 451, RejectReason::kQueue});
    Reply(451, "4.3.0 Error: queue file write error", actions);
  }
}

void Session::Abandon(Actions* actions) {
  if (transaction_ == nullptr || transaction_->content == nullptr) return;
  Content& content = *transaction_->content;
  if (content.chunks_sent == 0) return;
  content.chunks_sent = 0;
  Submit submit;
  submit.submission.set_queue_id(transaction_->queue_id);
  submit.submission.set_abandon(true);
  actions->submits.push_back(std::move(submit));
}

void Session::DropTransaction(Actions* actions) {
  Abandon(actions);
  transaction_.reset();
  forwarded_.clear();
  chunk_ = {};
}

}  // namespace postfleet::ingress
