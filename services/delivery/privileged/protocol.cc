#include "services/delivery/privileged/protocol.h"

#include <algorithm>
#include <limits>

#include "services/delivery/privileged/wire.h"

namespace postfleet::delivery::privileged {
namespace {

constexpr size_t kComponentBytesMax = 255;  // NAME_MAX

bool IsHostByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_';
}

}  // namespace

std::string EncodeRequest(const Request& request) {
  std::string body;
  Put(static_cast<uint8_t>(request.operation), &body);
  Put(request.content_bytes, &body);
  Put(request.file_bytes_max, &body);
  Put(request.seconds, &body);
  Put(request.microseconds, &body);
  PutText(request.host, &body);
  PutText(request.base, &body);
  Put(static_cast<uint32_t>(request.targets.size()), &body);
  for (const Target& target : request.targets) {
    Put(target.uid, &body);
    Put(target.gid, &body);
    PutText(target.path, &body);
    PutText(target.header, &body);
  }
  return WithPrefix(kRequestMagic, body);
}

std::string EncodeAnswer(const std::vector<TargetResult>& results) {
  std::string body;
  Put(static_cast<uint32_t>(results.size()), &body);
  for (const TargetResult& result : results) {
    Put(static_cast<uint8_t>(result.code), &body);
    Put(static_cast<uint32_t>(result.error_number), &body);
    PutText(std::string_view(result.text).substr(0, kTextBytesMax), &body);
  }
  return WithPrefix(kAnswerMagic, body);
}

std::string EncodePieceLength(uint32_t length) {
  std::string bytes;
  Put(length, &bytes);
  return bytes;
}

bool DecodePrefix(std::string_view prefix, uint32_t magic, size_t bytes_max, uint32_t* length) {
  Cursor cursor(prefix);
  const bool right = cursor.Take<uint32_t>() == magic;
  *length = cursor.Take<uint32_t>();
  return right && cursor.AtEnd() && *length <= bytes_max;
}

uint32_t DecodePieceLength(std::string_view length) { return Cursor(length).Take<uint32_t>(); }

bool DecodeRequest(std::string_view body, Request* request) {
  Cursor cursor(body);
  const auto operation = cursor.Take<uint8_t>();
  request->operation = static_cast<Operation>(operation);
  request->content_bytes = cursor.Take<uint64_t>();
  request->file_bytes_max = cursor.Take<uint64_t>();
  request->seconds = cursor.Take<int64_t>();
  request->microseconds = cursor.Take<uint32_t>();
  request->host = cursor.TakeText(kHostBytesMax);
  request->base = cursor.TakeText(kPathBytesMax);
  const auto count = cursor.Take<uint32_t>();
  if (operation != static_cast<uint8_t>(Operation::kMaildir)) return false;
  if (count == 0 || count > kTargetsMax) return false;
  request->targets.clear();
  for (uint32_t i = 0; i < count && cursor.ok(); ++i) {
    Target& target = request->targets.emplace_back();
    target.uid = cursor.Take<uint32_t>();
    target.gid = cursor.Take<uint32_t>();
    target.path = cursor.TakeText(kPathBytesMax);
    target.header = cursor.TakeText(kHeaderBytesMax);
  }
  return cursor.AtEnd();
}

bool DecodeAnswer(std::string_view body, std::vector<TargetResult>* results) {
  Cursor cursor(body);
  const auto count = cursor.Take<uint32_t>();
  if (count > kTargetsMax) return false;
  results->clear();
  for (uint32_t i = 0; i < count && cursor.ok(); ++i) {
    const auto code = cursor.Take<uint8_t>();
    if (code < static_cast<uint8_t>(Code::kDelivered) ||
        code > static_cast<uint8_t>(Code::kAbandoned)) {
      return false;
    }
    TargetResult& result = results->emplace_back();
    result.code = static_cast<Code>(code);
    result.error_number = static_cast<int>(cursor.Take<uint32_t>());
    result.text = cursor.TakeText(kTextBytesMax);
  }
  return cursor.AtEnd();
}

std::string CheckRequest(const Request& request) {
  if (request.host.empty() || !std::all_of(request.host.begin(), request.host.end(), IsHostByte)) {
    return "bad host name for a mailbox file";
  }
  if (!request.base.starts_with('/') || request.base.find('\0') != std::string::npos) {
    return "the mailbox base is not an absolute path";
  }
  return "";
}

std::string CheckPath(std::string_view path, std::vector<std::string>* components) {
  components->clear();
  if (path.find('\0') != std::string_view::npos) return "mailbox path with a zero byte";
  if (path.size() > kPathBytesMax) return "mailbox path too long";
  if (path.starts_with('/')) return "mailbox path is not relative";
  while (!path.empty()) {
    const std::string_view component = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(component.size() + 1, path.size()));
    if (component.empty() || component == ".") continue;
    if (component == "..") return "mailbox path with \"..\"";
    if (component.size() > kComponentBytesMax) return "mailbox path too long";
    components->emplace_back(component);
  }
  if (components->empty()) return "empty mailbox path";
  return "";
}

}  // namespace postfleet::delivery::privileged
