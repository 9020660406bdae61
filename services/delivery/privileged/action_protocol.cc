#include "services/delivery/privileged/action_protocol.h"

#include "services/delivery/privileged/protocol.h"
#include "services/delivery/privileged/wire.h"

namespace postfleet::delivery::privileged {
namespace {

void PutWords(const std::vector<std::string>& words, std::string* body) {
  Put(static_cast<uint32_t>(words.size()), body);
  for (const std::string& word : words) PutText(word, body);
}

std::vector<std::string> TakeWords(Cursor& cursor) {
  std::vector<std::string> words;
  const auto count = cursor.Take<uint32_t>();
  for (uint32_t i = 0; i < count && cursor.ok(); ++i) {
    if (i == kWordsMax) return {};
    words.push_back(cursor.TakeText(kActionBytesMax));
  }
  return words;
}

bool TakeFlag(Cursor& cursor) { return cursor.Take<uint8_t>() != 0; }

}  // namespace

std::string EncodeAction(const ActionRequest& request) {
  std::string body;
  Put(static_cast<uint8_t>(request.kind), &body);
  Put(request.uid, &body);
  Put(request.gid, &body);
  PutText(request.path, &body);
  PutText(request.header, &body);
  PutText(request.base, &body);
  PutText(request.host, &body);
  Put(request.seconds, &body);
  Put(request.microseconds, &body);
  Put(request.file_bytes_max, &body);
  Put(request.owner_uid, &body);
  Put(request.owner_gid, &body);
  for (const bool flag : {request.must_be_owned, request.is_any_file, request.fcntl_lock,
                          request.flock_lock, request.dotlock}) {
    Put(static_cast<uint8_t>(flag), &body);
  }
  for (const uint32_t value : {request.lock_tries, request.lock_delay_ms, request.lock_stale_ms}) {
    Put(value, &body);
  }
  Put(request.bytes_max, &body);
  PutText(request.chroot, &body);
  PutWords(request.argv, &body);
  PutWords(request.environment, &body);
  Put(request.time_limit_ms, &body);
  return WithPrefix(kActionMagic, body);
}

bool DecodeAction(std::string_view body, ActionRequest* request) {
  Cursor cursor(body);
  const auto kind = cursor.Take<uint8_t>();
  request->kind = static_cast<ActionKind>(kind);
  request->uid = cursor.Take<uint32_t>();
  request->gid = cursor.Take<uint32_t>();
  request->path = cursor.TakeText(kPathBytesMax);
  request->header = cursor.TakeText(kHeaderBytesMax);
  request->base = cursor.TakeText(kPathBytesMax);
  request->host = cursor.TakeText(kHostBytesMax);
  request->seconds = cursor.Take<int64_t>();
  request->microseconds = cursor.Take<uint32_t>();
  request->file_bytes_max = cursor.Take<uint64_t>();
  request->owner_uid = cursor.Take<uint32_t>();
  request->owner_gid = cursor.Take<uint32_t>();
  for (bool* flag : {&request->must_be_owned, &request->is_any_file, &request->fcntl_lock,
                     &request->flock_lock, &request->dotlock}) {
    *flag = TakeFlag(cursor);
  }
  for (uint32_t* value : {&request->lock_tries, &request->lock_delay_ms, &request->lock_stale_ms}) {
    *value = cursor.Take<uint32_t>();
  }
  request->bytes_max = cursor.Take<uint64_t>();
  request->chroot = cursor.TakeText(kPathBytesMax);
  request->argv = TakeWords(cursor);
  request->environment = TakeWords(cursor);
  request->time_limit_ms = cursor.Take<uint32_t>();
  return cursor.AtEnd() && kind >= static_cast<uint8_t>(ActionKind::kMaildir) &&
         kind <= static_cast<uint8_t>(ActionKind::kCommand);
}

std::string EncodeActionAnswer(const ActionAnswer& answer) {
  std::string body;
  Put(static_cast<uint8_t>(answer.code), &body);
  Put(static_cast<uint32_t>(answer.error_number), &body);
  PutText(std::string_view(answer.text).substr(0, kTextBytesMax), &body);
  Put(static_cast<uint32_t>(answer.value), &body);
  PutText(answer.bytes, &body);
  for (const bool flag : {answer.is_longer, answer.is_link, answer.is_regular}) {
    Put(static_cast<uint8_t>(flag), &body);
  }
  Put(answer.owner, &body);
  Put(answer.mode, &body);
  return WithPrefix(kActionAnswerMagic, body);
}

bool DecodeActionAnswer(std::string_view body, ActionAnswer* answer) {
  Cursor cursor(body);
  const auto code = cursor.Take<uint8_t>();
  answer->code = static_cast<ActionCode>(code);
  answer->error_number = static_cast<int32_t>(cursor.Take<uint32_t>());
  answer->text = cursor.TakeText(kTextBytesMax);
  answer->value = static_cast<int32_t>(cursor.Take<uint32_t>());
  answer->bytes = cursor.TakeText(kActionAnswerBytesMax);
  for (bool* flag : {&answer->is_longer, &answer->is_link, &answer->is_regular}) {
    *flag = TakeFlag(cursor);
  }
  answer->owner = cursor.Take<uint32_t>();
  answer->mode = cursor.Take<uint32_t>();
  return cursor.AtEnd() && code >= static_cast<uint8_t>(ActionCode::kDone) &&
         code <= static_cast<uint8_t>(ActionCode::kTimedOut);
}

}  // namespace postfleet::delivery::privileged
