#include "services/delivery/core/command_environment.h"

#include <algorithm>
#include <cstdlib>

#include "absl/status/status.h"
#include "libs/base/concat.h"
#include "services/delivery/core/command_line.h"

namespace postfleet::delivery {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kSeparators = ", \t\r\n";

std::string_view Trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(kBlanks);
  if (start == text.npos) return {};
  return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

// Takes the next item off `*text`; braces are gone. Empty: there is none.
absl::StatusOr<std::string_view> NextItem(std::string_view* text) {
  const size_t start = text->find_first_not_of(kSeparators);
  if (start == text->npos) return std::string_view();
  text->remove_prefix(start);
  if (text->front() != '{') {
    const size_t end = std::min(text->find_first_of(kSeparators), text->size());
    const std::string_view item = text->substr(0, end);
    text->remove_prefix(end);
    return item;
  }
  int depth = 0;
  for (size_t i = 0; i < text->size(); ++i) {
    if ((*text)[i] == '{') ++depth;
    if ((*text)[i] == '}' && --depth == 0) {
      const std::string_view item = Trimmed(text->substr(1, i - 1));
      text->remove_prefix(i + 1);
      if (item.empty()) break;
      return item;
    }
  }
  return absl::InvalidArgumentError(
      "export_environment: give NAME, NAME=VALUE or { NAME = VALUE }, each { with its }");
}

}  // namespace

absl::StatusOr<CommandEnvironment> CommandEnvironment::From(std::string_view value,
                                                            const Lookup& lookup) {
  CommandEnvironment environment;
  for (;;) {
    const absl::StatusOr<std::string_view> item = NextItem(&value);
    if (!item.ok()) return item.status();
    if (item->empty()) break;
    const size_t equals = item->find('=');
    const std::string name(Trimmed(item->substr(0, equals)));
    if (name.empty()) {
      return absl::InvalidArgumentError(
          Concat("export_environment: ", *item, ": a name is missing before the ="));
    }
    if (equals != item->npos) {
      environment.Set(name, Trimmed(item->substr(equals + 1)));
    } else if (const std::optional<std::string> own = lookup(name)) {
      environment.Set(name, *own);
    }
  }
  environment.Set("PATH", kCommandPath);
  return environment;
}

CommandEnvironment::Lookup CommandEnvironment::OwnEnvironment(std::string config_directory) {
  return [config_directory =
              std::move(config_directory)](const std::string& name) -> std::optional<std::string> {
    if (const char* value = std::getenv(name.c_str())) return value;
    if (name == "MAIL_CONFIG") return config_directory;
    return std::nullopt;
  };
}

void CommandEnvironment::Set(std::string_view name, std::string_view value) {
  for (auto& [known, known_value] : values_) {
    if (known != name) continue;
    known_value = value;
    return;
  }
  values_.emplace_back(name, value);
}

std::vector<std::string> CommandEnvironment::Strings() const {
  std::vector<std::string> strings;
  for (const auto& [name, value] : values_) strings.push_back(Concat(name, "=", value));
  return strings;
}

}  // namespace postfleet::delivery
