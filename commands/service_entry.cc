#include "commands/service_entry.h"

#include <algorithm>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kIndent = "    ";
// Where each column begins.
constexpr std::array<size_t, 8> kColumns = {0, 11, 17, 25, 33, 41, 49, 57};
constexpr size_t kLineColumns = 79;

std::string_view Trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

// The word at the front; { ... } is one.
std::string_view TakeWord(std::string_view* text) {
  *text = Trimmed(*text);
  size_t depth = 0;
  size_t end = 0;
  for (; end < text->size(); ++end) {
    const char c = (*text)[end];
    if (c == '{') ++depth;
    if (c == '}' && depth > 0) --depth;
    if (depth == 0 && kBlank.find(c) != kBlank.npos) break;
  }
  const std::string_view word = text->substr(0, end);
  text->remove_prefix(end);
  *text = Trimmed(*text);
  return word;
}

// "{ name = value }" and "{text}" without their braces.
std::string Unbraced(std::string_view word) {
  if (word.starts_with('{') && word.ends_with('}')) {
    word = Trimmed(word.substr(1, word.size() - 2));
  }
  return std::string(word);
}

// "name = value" -> "name=value".
std::string Assignment(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == text.npos) return std::string(text);
  return Concat(Trimmed(text.substr(0, equals)), '=', Trimmed(text.substr(equals + 1)));
}

// As it must stand in the file.
std::string Quoted(std::string_view argument) {
  const bool plain = !argument.empty() && argument.find_first_of(kBlank) == argument.npos &&
                     !argument.starts_with('{');
  return plain ? std::string(argument) : Concat('{', argument, '}');
}

void Append(std::string_view word, size_t* column, std::string* out, bool folded) {
  if (folded && *column + 1 + word.size() > kLineColumns) {
    ConcatTo(out, '\n', kIndent, word);
    *column = kIndent.size() + word.size();
    return;
  }
  ConcatTo(out, ' ', word);
  *column += 1 + word.size();
}

}  // namespace

absl::StatusOr<ServiceEntry> ServiceEntry::Parse(std::string_view text) {
  ServiceEntry entry;
  for (std::string& field : entry.fields) field = TakeWord(&text);
  if (entry.fields.back().empty()) return absl::InvalidArgumentError("bad field count");
  if (absl::Status status = entry.SetCommand(Concat(entry.fields.back(), ' ', text));
      !status.ok()) {
    return status;
  }
  return entry;
}

absl::Status ServiceEntry::SetCommand(std::string_view text) {
  std::string_view program = TakeWord(&text);
  if (program.empty()) return absl::InvalidArgumentError("bad field count");
  fields.back() = program;
  arguments.clear();
  bool options = true;  // up to the first word that is none
  while (!text.empty()) {
    const std::string word = Unbraced(TakeWord(&text));
    options &= word.starts_with('-');
    if (options && word == "-o" && !text.empty()) {
      arguments.emplace_back("-o");
      arguments.push_back(Assignment(Unbraced(TakeWord(&text))));
    } else if (options && word.starts_with("-o") && word.find('=') != word.npos) {
      arguments.emplace_back("-o");
      arguments.push_back(Assignment(Trimmed(std::string_view(word).substr(2))));
    } else {
      arguments.push_back(word);
    }
  }
  return absl::OkStatus();
}

std::string ServiceEntry::Name() const { return Concat(fields[0], '/', fields[1]); }

std::string ServiceEntry::Command() const {
  std::string text = fields.back();
  for (const std::string& argument : arguments) ConcatTo(&text, ' ', Quoted(argument));
  return text;
}

size_t ServiceEntry::OptionsEnd() const {
  size_t i = 0;
  while (i < arguments.size() && arguments[i].starts_with('-')) {
    i += arguments[i] == "-o" && i + 1 < arguments.size() ? 2 : 1;
  }
  return i;
}

std::vector<std::pair<std::string, std::string>> ServiceEntry::Parameters() const {
  std::vector<std::pair<std::string, std::string>> found;
  for (size_t i = 0; i + 1 < OptionsEnd(); ++i) {
    if (arguments[i] != "-o") continue;
    const std::string& text = arguments[++i];
    const size_t equals = text.find('=');
    if (equals == text.npos || equals == 0) continue;
    found.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return found;
}

void ServiceEntry::SetParameter(std::string_view name, std::string_view value) {
  const std::string text = Concat(name, '=', value);
  const size_t options_end = OptionsEnd();
  bool found = false;
  for (size_t i = 0; i + 1 < options_end; ++i) {
    if (arguments[i] != "-o" || !arguments[++i].starts_with(Concat(name, '='))) continue;
    arguments[i] = text;
    found = true;
  }
  if (found) return;
  arguments.insert(arguments.begin() + static_cast<std::ptrdiff_t>(options_end), {"-o", text});
}

void ServiceEntry::RemoveParameter(std::string_view name) {
  for (size_t i = 0; i + 1 < OptionsEnd();) {
    if (arguments[i] == "-o" && arguments[i + 1].starts_with(Concat(name, '='))) {
      arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(i),
                      arguments.begin() + static_cast<std::ptrdiff_t>(i) + 2);
    } else {
      i += arguments[i] == "-o" ? 2 : 1;
    }
  }
}

std::string ServiceEntry::ToString(bool folded) const {
  std::string out;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) out.append(out.size() < kColumns[i] ? kColumns[i] - out.size() : 1, ' ');
    out += fields[i];
  }
  size_t column = out.size();
  const size_t options_end = OptionsEnd();
  bool after_option = false;  // a parameter has a line of its own
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool parameter = arguments[i] == "-o" && i + 1 < options_end;
    const std::string word =
        parameter ? Concat("-o ", Quoted(arguments[++i])) : Quoted(arguments[i]);
    if (folded && (parameter || after_option)) {
      ConcatTo(&out, '\n', kIndent, word);
      column = kIndent.size() + word.size();
    } else {
      Append(word, &column, &out, folded);
    }
    after_option = parameter;
  }
  return out;
}

std::string FoldWords(std::string_view first, std::string_view text, bool folded, size_t columns) {
  std::string out(first);
  size_t column = out.size();
  for (std::string_view rest = Trimmed(text); !rest.empty(); rest = Trimmed(rest)) {
    const std::string_view word = rest.substr(0, rest.find_first_of(kBlank));
    rest.remove_prefix(word.size());
    if (out.empty()) {
      out = word;
      column = word.size();
    } else if (folded && column + 1 + word.size() > columns) {
      ConcatTo(&out, '\n', kIndent, word);
      column = kIndent.size() + word.size();
    } else {
      ConcatTo(&out, ' ', word);
      column += 1 + word.size();
    }
  }
  return out;
}

}  // namespace postfleet::commands
