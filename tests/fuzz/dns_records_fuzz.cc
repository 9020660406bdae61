// Resource data of whoever answers: records come out in order, bounded, with names that are names.
// The first byte chooses the type, the second how the rest is cut into records; with an odd one the
// names are spelt as labels, and what must come out is known.
#include <algorithm>
#include <asio/ip/address_v4.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/dns/records.h"

namespace {

using namespace postfleet::dns;

void Check(bool holds) {
  if (!holds) std::abort();
}

bool IsName(const std::string& name) {
  std::error_code error;
  asio::ip::make_address_v4(name, error);
  const bool is_address = !error && name.find('\0') == name.npos;
  return name.empty() || IsHostName(name) || is_address;
}

void CheckName(const std::string& name) {
  Check(IsName(name));
  Check(name.size() <= 255 && name.find_first_of(std::string_view("\0\r\n <>", 6)) == name.npos);
  Check(std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
}

void CheckAnswer(Type type, const Answer& answer, size_t records) {
  const size_t found = answer.mx.size() + answer.srv.size() + answer.addresses.size();
  Check(found <= std::min(records, kRecordsMax));
  Check(answer.result == (found > 0 ? Result::kFound : Result::kMalformed));
  Check(answer.mx.empty() || type == Type::kMx);
  Check(answer.srv.empty() || type == Type::kSrv);
  Check(answer.addresses.empty() || type == Type::kA || type == Type::kAaaa);
  for (const MxRecord& mx : answer.mx) CheckName(mx.exchange);
  for (const SrvRecord& srv : answer.srv) CheckName(srv.target);
}

// "a.b" as labels behind `fixed` bytes.
std::string Spelt(std::string_view name, size_t fixed) {
  std::string wire(fixed, '\1');
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    wire += static_cast<char>(label.size());
    wire += label;
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  return wire + '\0';
}

void CheckSpelt(std::string_view name, bool mx) {
  const std::string wire = Spelt(name, mx ? 2 : 6);
  const Answer answer = ParseRecords(mx ? Type::kMx : Type::kSrv, {wire});
  CheckAnswer(mx ? Type::kMx : Type::kSrv, answer, 1);
  // An empty label ends a name, here before its end.
  std::string want(name);
  if (want.starts_with('.') || want.find("..") != want.npos) return;
  if (want.ends_with('.')) want.pop_back();
  for (char& c : want) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  Check(answer.found() == IsName(want));
  if (!answer.found()) return;
  Check((mx ? answer.mx[0].exchange : answer.srv[0].target) == want);
  Check(mx ? answer.mx[0].preference == 0x101 : answer.srv[0].port == 0x101);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[1] % 2 != 0) {
    CheckSpelt(in.substr(0, 300), data[0] % 2 != 0);
    return 0;
  }
  constexpr Type kTypes[] = {Type::kMx, Type::kA, Type::kAaaa, Type::kSrv};
  const Type type = kTypes[data[0] % 4];
  std::vector<std::string_view> records;
  const size_t bytes = 1 + data[1] / 2;
  for (size_t at = 0; at < in.size(); at += bytes) records.push_back(in.substr(at, bytes));
  CheckAnswer(type, ParseRecords(type, records), records.size());
  return 0;
}
