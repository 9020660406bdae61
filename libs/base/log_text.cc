#include "libs/base/log_text.h"

#include <algorithm>

namespace postfleet::maillog {
namespace {

// Bytes of the UTF-8 character at the start of `text` (RFC 3629: shortest form, no surrogates, up
// to U+10FFFF); 0: none starts here.
size_t Utf8Bytes(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || !follows(1)) return 0;
  if (lead < 0xE0) return 2;
  if (!follows(2)) return 0;
  if (lead < 0xF0) {
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;
    return lead == 0xED && byte(1) > 0x9F ? 0 : 3;
  }
  if (lead > 0xF4 || !follows(3)) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  return lead == 0xF4 && byte(1) > 0x8F ? 0 : 4;
}

bool IsPrintable(char c) { return c >= 0x20 && c < 0x7F; }

// Calls `take` with each run of clean bytes; `?` for what is not.
template <typename Take>
void Clean(std::string_view text, bool utf8, const Take& take) {
  size_t start = 0;
  size_t at = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (IsPrintable(c)) {
      ++at;
      continue;
    }
    const size_t wide =
        utf8 && static_cast<unsigned char>(c) >= 0x80 ? Utf8Bytes(text.substr(at)) : 0;
    if (wide > 0) {
      at += wide;
      continue;
    }
    take(text.substr(start, at - start));
    take("?");
    start = ++at;
  }
  take(text.substr(start));
}

}  // namespace

void AppendClean(std::string_view text, bool utf8, std::string* out) {
  Clean(text.substr(0, kTextBytesMax), utf8, [out](std::string_view run) { out->append(run); });
}

void AppendJsonString(std::string_view text, bool utf8, std::string* out) {
  out->push_back('"');
  Clean(text, utf8, [out](std::string_view run) {
    for (size_t at = run.find_first_of("\"\\"); at != run.npos; at = run.find_first_of("\"\\")) {
      out->append(run.substr(0, at));
      out->push_back('\\');
      out->push_back(run[at]);
      run.remove_prefix(at + 1);
    }
    out->append(run);
  });
  out->push_back('"');
}

void AppendJsonFacts(const Line& line, bool utf8, std::string* out) {
  if (!line.event().empty()) ConcatTo(out, ",\"event\":\"", line.event(), '"');
  size_t left = kTextBytesMax;
  for (const Line::Span& span : line.facts()) {
    const std::string_view whole = line.ValueOf(span);
    const std::string_view value = whole.substr(0, left);
    left -= value.size();
    ConcatTo(out, ",\"", span.name, "\":");
    if (span.number && !value.empty() && value.size() == whole.size()) {
      out->append(value);
    } else {
      AppendJsonString(value, utf8, out);
    }
  }
  if (!line.event().empty()) return;
  out->append(",\"message\":");
  AppendJsonString(std::string_view(line.text()).substr(0, kTextBytesMax), utf8, out);
}

Severity SeverityOf(std::string_view text) {
  for (const Severity severity :
       {Severity::kWarning, Severity::kError, Severity::kFatal, Severity::kPanic}) {
    const std::string_view name = NameOf(severity);
    if (text.starts_with(name) && text.substr(name.size()).starts_with(": ")) return severity;
  }
  return Severity::kInfo;
}

std::string_view NameOf(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
    case Severity::kFatal:
      return "fatal";
    case Severity::kPanic:
      return "panic";
  }
  return "info";
}

}  // namespace postfleet::maillog
