// The bytes of a log line. What peers wrote into it cannot forge a line, hide the rest of one or
// steer a terminal.
//
// As Postfix cleans (util/printable.c): control characters and bytes that are not UTF-8 become `?`,
// all that is not ASCII where smtputf8_enable is no; a text is cut behind kTextBytesMax.
#pragma once

#include <string>
#include <string_view>

#include "libs/base/log_line.h"

namespace postfleet::maillog {

inline constexpr size_t kTextBytesMax = 2000;

// Appends the text, cleaned and cut. What is appended is valid UTF-8.
void AppendClean(std::string_view text, bool utf8, std::string* out);

// Appends `text`, cleaned, as a JSON string with its quotes.
void AppendJsonString(std::string_view text, bool utf8, std::string* out);

// Appends `,"name":value` for the event and each fact, and `,"message":…` if there is no event.
// All of them together are cut, value by value, behind kTextBytesMax of text.
void AppendJsonFacts(const Line& line, bool utf8, std::string* out);

// "warning" of "warning: …"; "info" where the line does not begin so. Postfix's levels, as its
// readers take them from a line.
enum class Severity { kInfo, kWarning, kError, kFatal, kPanic };
Severity SeverityOf(std::string_view text);
std::string_view NameOf(Severity severity);

}  // namespace postfleet::maillog
