// Text for people in the lines of a mail: notices and transcripts, as Postfix lays them out. Pure;
// cannot fail.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::mail {

// At most `bytes_max` bytes, cut between characters; control characters and what is not UTF-8
// become "?".
std::string PrintableText(std::string_view text, size_t bytes_max);

// Words of `text` in lines of at most `line_bytes_max` bytes, each with LF and behind `prefix`,
// which does not count; all but the first are indented by four blanks. A word that is longer has a
// line of its own.
void AppendWrapped(std::string_view text, size_t line_bytes_max, std::string_view prefix,
                   std::string* out);

}  // namespace postfleet::mail
