#include "commands/config_edit.h"

#include <algorithm>
#include <set>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kBlank = " \t\r\n";

bool IsComment(std::string_view line) {
  const size_t first = line.find_first_not_of(kBlank);
  return first == line.npos || line[first] == '#';
}

bool GoesOn(std::string_view line) {
  return !line.empty() && (line.front() == ' ' || line.front() == '\t') && !IsComment(line);
}

// With their ends; the last line gets one if it has none.
std::vector<std::string> LinesOf(std::string_view file) {
  std::vector<std::string> lines;
  while (!file.empty()) {
    const size_t end = std::min(file.find('\n'), file.size());
    lines.emplace_back(file.substr(0, end));
    lines.back() += '\n';
    file.remove_prefix(std::min(end + 1, file.size()));
  }
  return lines;
}

std::string_view Trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

// The lines of one entry, and those of comments among them.
struct Entry {
  std::vector<std::string> lines;
  std::string text;
};

void Write(const Entry& entry, const EntryChange& change, std::string* out) {
  if (change.kind == EntryChange::kReplace) *out += change.text;
  for (const std::string& line : entry.lines) {
    if (IsComment(line) || change.kind == EntryChange::kKeep) {
      *out += line;
    } else if (change.kind == EntryChange::kComment) {
      ConcatTo(out, '#', line);
    }
  }
}

}  // namespace

std::string EditEntries(std::string_view file,
                        const std::function<EntryChange(std::string_view entry)>& change) {
  const std::vector<std::string> lines = LinesOf(file);
  std::string out;
  for (size_t i = 0; i < lines.size();) {
    if (IsComment(lines[i])) {
      out += lines[i++];
      continue;
    }
    Entry entry;
    size_t end = i + 1;  // behind the last line that goes on
    for (size_t at = end; at < lines.size() && (IsComment(lines[at]) || GoesOn(lines[at])); ++at) {
      if (GoesOn(lines[at])) end = at + 1;
    }
    if (GoesOn(lines[i])) {
      // A first line that continues nothing is nobody's entry.
      for (; i < end; ++i) out += lines[i];
      continue;
    }
    for (; i < end; ++i) {
      entry.lines.push_back(lines[i]);
      if (IsComment(lines[i])) continue;
      ConcatTo(&entry.text, entry.text.empty() ? "" : " ", Trimmed(lines[i]));
    }
    Write(entry, change(entry.text), &out);
  }
  return out;
}

std::string EditMainCf(std::string_view file, ConfigEdit edit,
                       const std::map<std::string, std::string>& values,
                       std::vector<std::string>* repeated) {
  std::set<std::string> seen;
  std::string out = EditEntries(file, [&](std::string_view entry) -> EntryChange {
    const std::string name(Trimmed(entry.substr(0, entry.find('='))));
    const auto wanted = values.find(name);
    if (wanted == values.end()) return {};
    if (!seen.insert(name).second) repeated->push_back(name);
    switch (edit) {
      case ConfigEdit::kSet:
        return {EntryChange::kReplace, Concat(name, " = ", wanted->second, "\n")};
      case ConfigEdit::kRemove:
        return {EntryChange::kRemove, ""};
      case ConfigEdit::kComment:
        return {EntryChange::kComment, ""};
    }
    return {};
  });
  if (edit != ConfigEdit::kSet) return out;
  for (const auto& [name, value] : values) {
    if (!seen.contains(name)) ConcatTo(&out, name, " = ", value, "\n");
  }
  return out;
}

}  // namespace postfleet::commands
