#include "libs/dns/resolver.h"

#include "libs/base/concat.h"

namespace postfleet::dns {
namespace {

constexpr size_t kLabelBytesMax = 63;
constexpr size_t kNameBytesMax = 255;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

std::string_view FailureWords(Result result) {
  switch (result) {
    case Result::kNoName:
      return "Host not found";
    case Result::kNoData:
      return "Host found but no data record of requested type";
    default:
      return "Host not found, try again";
  }
}

}  // namespace

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kMx:
      return "MX";
    case Type::kA:
      return "A";
    case Type::kAaaa:
      return "AAAA";
    case Type::kSrv:
      return "SRV";
    case Type::kPtr:
      return "PTR";
  }
  return "";
}

std::string FailureText(Result result, Type type, std::string_view name) {
  if (result == Result::kBadName) {
    return Concat("Name service error for ", name, ": invalid host or domain name");
  }
  if (result == Result::kMalformed) {
    return Concat("Name service error for name=", name, " type=", TypeName(type),
                  ": Malformed or unexpected name server reply");
  }
  return Concat("Host or domain name not found. Name service error for name=", name,
                " type=", TypeName(type), ": ", FailureWords(result));
}

bool IsHostName(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty() || name.size() > kNameBytesMax) return false;
  size_t label_bytes = 0;
  bool only_digits = true;
  char previous = '.';
  for (char c : name) {
    if (c == '.') {
      if (label_bytes == 0 || previous == '-') return false;
      label_bytes = 0;
    } else if (!IsNameByte(c) || (c == '-' && label_bytes == 0) || ++label_bytes > kLabelBytesMax) {
      return false;
    }
    only_digits = only_digits && (c == '.' || (c >= '0' && c <= '9'));
    previous = c;
  }
  return label_bytes != 0 && previous != '-' && !only_digits;
}

}  // namespace postfleet::dns
