#include "services/scheduler/core/destination.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "libs/base/concat.h"

namespace postfleet::scheduler {
namespace {

std::string_view LocalPart(std::string_view address) {
  return address.substr(0, std::min(address.rfind('@'), address.size()));
}

std::string_view Domain(std::string_view address) {
  const size_t at = address.rfind('@');
  return at == address.npos ? std::string_view() : address.substr(at + 1);
}

bool EqualsFolded(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase({a.data(), a.size()}, {b.data(), b.size()});
}

// Addresses of the mail system itself have no extension; nor has what mailing lists use, where `-`
// is a delimiter.
bool IsUnsplit(std::string_view localpart, std::string_view delimiter) {
  for (const std::string_view reserved : {"postmaster", "mailer-daemon", "double-bounce"}) {
    if (EqualsFolded(localpart, reserved)) return true;
  }
  if (delimiter.find('-') == delimiter.npos) return false;
  return EqualsFolded(localpart.substr(0, 6), "owner-") ||
         (localpart.size() > 8 && EqualsFolded(localpart.substr(localpart.size() - 8), "-request"));
}

std::string_view WithoutExtension(std::string_view localpart, std::string_view delimiter) {
  if (delimiter.empty() || IsUnsplit(localpart, delimiter)) return localpart;
  const size_t at = localpart.find_first_of(delimiter);
  // An extension without a name in front is none.
  if (at == localpart.npos || at == 0) return localpart;
  return localpart.substr(0, at);
}

int CompareFolded(std::string_view a, std::string_view b) {
  const size_t shared = std::min(a.size(), b.size());
  for (size_t i = 0; i < shared; ++i) {
    const int difference = absl::ascii_tolower(a[i]) - absl::ascii_tolower(b[i]);
    if (difference != 0) return difference;
  }
  return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
}

// One to three digits from `*at` on.
bool TakeNumber(std::string_view text, size_t* at) {
  const size_t begin = *at;
  while (*at < text.size() && absl::ascii_isdigit(text[*at])) ++*at;
  return *at > begin && *at - begin <= 3;
}

// The length of the enhanced status code at the start of `text`; 0: there is none.
size_t StatusLength(std::string_view text) {
  if (text.size() < 5 || text[1] != '.') return 0;
  if (text[0] != '2' && text[0] != '4' && text[0] != '5') return 0;
  size_t at = 2;
  if (!TakeNumber(text, &at) || at >= text.size() || text[at] != '.') return 0;
  ++at;
  if (!TakeNumber(text, &at)) return 0;
  return at == text.size() || text[at] == ' ' || text[at] == '\t' ? at : 0;
}

}  // namespace

std::string DestinationName(std::string_view nexthop, std::string_view recipient,
                            bool one_recipient, std::string_view recipient_delimiter) {
  std::string name;
  if (one_recipient) {
    ConcatTo(&name, WithoutExtension(LocalPart(recipient), recipient_delimiter), '@');
  }
  name.append(nexthop);
  absl::AsciiStrToLower(&name);
  return name;
}

bool RecipientBefore(std::string_view a, std::string_view b) {
  const int domains = CompareFolded(Domain(a), Domain(b));
  return domains != 0 ? domains < 0 : CompareFolded(LocalPart(a), LocalPart(b)) < 0;
}

std::string StatusOfClass(std::string_view status, char klass) {
  if (!status.empty() && status[0] == klass && StatusLength(status) == status.size()) {
    return std::string(status);
  }
  return Concat(klass, ".0.0");
}

StatusText SplitStatus(std::string_view text, char klass) {
  const size_t length = StatusLength(text);
  StatusText split{.status = StatusOfClass(text.substr(0, length), klass)};
  const size_t begin = text.find_first_not_of(" \t", length);
  if (begin != text.npos) split.text = text.substr(begin);
  return split;
}

}  // namespace postfleet::scheduler
