// What `postconf -e`, -X and -# do to the text of main.cf and master.cf: everything else stays as
// it is, comments and layout included. Pure.
//
// An entry is a line that begins with neither blank nor comment, and the lines below it that begin
// with blanks. A comment between them stays, behind what the entry becomes.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::commands {

// What becomes of an entry.
struct EntryChange {
  enum Kind { kKeep, kReplace, kRemove, kComment } kind = kKeep;
  std::string text;  // kReplace: lines, each with its end
};

// `change` sees each entry's logical text (its lines, joined by blanks).
std::string EditEntries(std::string_view file,
                        const std::function<EntryChange(std::string_view entry)>& change);

enum class ConfigEdit { kSet, kRemove, kComment };

// `values` by name; of kRemove and kComment the names alone count. A name that the file does not
// have is added at the end (kSet). `repeated` gets the names that it has more than once; all of
// them are changed.
std::string EditMainCf(std::string_view file, ConfigEdit edit,
                       const std::map<std::string, std::string>& values,
                       std::vector<std::string>* repeated);

}  // namespace postfleet::commands
