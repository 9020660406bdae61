// BDAT (RFC 3030) in the way of smtpd(8): a message comes in counted chunks, each answered. Behind
// a chunk that was refused the client may have sent more: all of them are read and thrown away, up
// to the last one, so that none is taken for commands.
#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {

using queue::v1::EnqueueResult;
using smtp::Verb;

bool Session::Bdat(const smtp::Command& command, Actions* actions) {
  if (!Offers("CHUNKING")) return NotImplemented(command, actions);
  const bool in_queue = transaction_ != nullptr && !transaction_->queue_id.empty();
  const std::string_view id = in_queue ? std::string_view(transaction_->queue_id) : "NOQUEUE";
  smtp::BdatCommand bdat;
  if (const auto bad = smtp::ParseBdat(command.arguments, &bdat)) {
    Log(LogProgram::kSmtpd,
        Concat("warning: ", id, ": malformed BDAT command syntax from ", client_, ": BDAT",
               command.arguments.empty() ? "" : " ", command.arguments),
        actions);
    FailParsing(*bad, command, actions);
    FinishCommand(Verb::kBdat, false, actions);
    End("", actions);
    return false;
  }
  chunk_.size = chunk_.left = bdat.size_bytes;
  chunk_.last = bdat.last;
  if (bdat.size_bytes == 0 && !bdat.last) {
    Log(LogProgram::kSmtpd, Concat("warning: ", id, ": null BDAT request from ", client_), actions);
    return SkipChunk(551, "5.7.1 Null BDAT request", actions);
  }
  if (chunk_.state == Chunk::kFailed) {
    return SkipChunk(551, Concat("5.0.0 Discarded ", bdat.size_bytes, " bytes after earlier error"),
                     actions);
  }
  return chunk_.state == Chunk::kNone ? BeginChunks(actions) : ReadChunk(actions);
}

// The first chunk of a message is what DATA is elsewhere.
bool Session::BeginChunks(Actions* actions) {
  if (transaction_ == nullptr) {
    transcript_.Erred(kProtocolError);
    return SkipChunk(503, "5.5.1 Error: need RCPT command", actions);
  }
  if (transaction_->recipients.empty()) {
    return SkipChunk(554, "5.5.1 Error: no valid recipients", actions);
  }
  return Judge(Stage::kData, "DATA", &Session::BdatDecided, actions);
}

bool Session::BdatDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) {
    NoteRefusal("BDAT", RejectReason::kAccess, refusal->code, refusal->text, actions);
    return SkipChunk(refusal->code, refusal->text, actions);
  }
  if (!surroundings_.QueueIsThere()) {
    CountReject(actions, {"BDAT", 451, RejectReason::kQueue});
    return SkipChunk(451, "4.3.0 Error: queue file write error", actions);
  }
  if (surroundings_.BuffersFull()) {
    constexpr std::string_view kFull = "4.3.1 Insufficient system storage";
    NoteRefusal("BDAT", RejectReason::kSpace, 452, kFull, actions);
    return SkipChunk(452, std::string(kFull), actions);
  }
  BeginData(smtp::DataReader::Framing::kChunk);
  chunk_.state = Chunk::kOpen;
  return ReadChunk(actions);
}

bool Session::ReadChunk(Actions* actions) {
  const uint64_t limit = config_.message_size_limit;
  const uint64_t so_far = transaction_->content->reader.wire_bytes();
  if (limit > 0 && (chunk_.size > limit || so_far > limit - chunk_.size)) {
    Log(LogProgram::kSmtpd,
        Concat("warning: ", transaction_->queue_id, ": BDAT request from ", client_,
               " exceeds message size limit"),
        actions);
    CountReject(actions, {"BDAT", 552, RejectReason::kSize});
    return SkipChunk(552, "5.3.4 Chunk exceeds message size limit", actions);
  }
  phase_ = Phase::kData;
  where_ = "BDAT";
  if (chunk_.left == 0) EndOfChunk(actions);
  return true;
}

void Session::EndOfChunk(Actions* actions) {
  Transaction& transaction = *transaction_;
  if (chunk_.last) {
    FinishContent();
    EndOfData(actions);
    return;
  }
  phase_ = Phase::kCommand;
  if (RefuseBareNewline(actions)) {
    FailChunks(actions);
    EndIfCodeSaysSo(actions);
    return;
  }
  if (transaction.failure != EnqueueResult::COMMITTED) {
    ReplyFailure(transaction.failure, actions);
    FailChunks(actions);
    return;
  }
  Reply(250, Concat("2.0.0 Ok: ", chunk_.size, " bytes"), actions);
  FinishCommand(Verb::kBdat, true, actions);
}

// Answers behind the chunk. False always.
bool Session::SkipChunk(int code, std::string text, Actions* actions) {
  chunk_.code = code;
  chunk_.text = std::move(text);
  phase_ = Phase::kSkip;
  if (chunk_.left == 0) EndOfSkip(actions);
  return false;
}

void Session::SkipData(std::string_view* in, Actions* actions) {
  const uint64_t size = std::min<uint64_t>(in->size(), chunk_.left);
  in->remove_prefix(size);
  chunk_.left -= size;
  if (chunk_.left == 0) EndOfSkip(actions);
}

void Session::EndOfSkip(Actions* actions) {
  phase_ = Phase::kCommand;
  Reply(chunk_.code, chunk_.text, actions);
  FailChunks(actions);
}

// What came of the message is dropped; behind its last chunk the transaction, too.
void Session::FailChunks(Actions* actions) {
  if (chunk_.last) {
    DropTransaction(actions);
  } else {
    chunk_.state = Chunk::kFailed;
    Abandon(actions);
    if (transaction_ != nullptr) transaction_->content.reset();
  }
  FinishCommand(Verb::kBdat, false, actions);
}

}  // namespace postfleet::ingress
