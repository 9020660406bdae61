#include "commands/postconf_services.h"

#include <algorithm>
#include <utility>

#include "commands/config_edit.h"
#include "commands/service_entry.h"
#include "commands/service_pattern.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"

namespace postfleet::commands {
namespace {

using What = PostconfRequest::What;

constexpr size_t kLineColumns = 80;

// In the order of the file.
absl::StatusOr<std::vector<ServiceEntry>> ReadEntries(const std::string& path) {
  const absl::StatusOr<std::string> file = config::ReadFileText(path);
  if (!file.ok()) return file.status();
  std::vector<ServiceEntry> entries;
  absl::Status failure;
  EditEntries(*file, [&](std::string_view line) -> EntryChange {
    absl::StatusOr<ServiceEntry> entry = ServiceEntry::Parse(line);
    if (entry.ok()) {
      entries.push_back(*std::move(entry));
    } else {
      failure.Update(absl::InvalidArgumentError(
          Concat(path, ": bad field count in \"", line, "\": it needs eight fields")));
    }
    return {};
  });
  if (!failure.ok()) return failure;
  return entries;
}

// As the service's own processes see its text.
std::string Expanded(const PostconfRequest& request, const config::Config& config,
                     const ServiceEntry& entry, const std::string& text) {
  if (!request.expanded) return text;
  for (const config::MasterService& service : config.master_cf().services) {
    if (service.Selector() != entry.Name()) continue;
    const absl::StatusOr<config::Config> own = config.WithOverrides(service);
    const absl::StatusOr<std::string> expanded =
        own.ok() ? own->Expand(text) : absl::StatusOr<std::string>(own.status());
    if (expanded.ok()) return *expanded;
  }
  return text;
}

std::string Labelled(const PostconfRequest& request, const std::string& name,
                     std::string_view value) {
  if (request.names_only) return Concat(name, "\n");
  const std::string label = request.values_only ? "" : Concat(name, " =");
  const std::string line = FoldWords(label, value, request.folded, kLineColumns);
  return Concat(line, "\n");
}

std::string Fields(const PostconfRequest& request, const ServicePattern& pattern,
                   const ServiceEntry& entry) {
  std::string out;
  for (size_t i = 0; i < kServiceFields.size(); ++i) {
    if (!pattern.MatchesAttribute(kServiceFields[i])) continue;
    const bool command = i + 1 == kServiceFields.size();
    out += Labelled(request, Concat(entry.Name(), '/', kServiceFields[i]),
                    command ? entry.Command() : entry.fields[i]);
  }
  return out;
}

std::string Parameters(const PostconfRequest& request, const config::Config& config,
                       const ServicePattern& pattern, const ServiceEntry& entry) {
  std::vector<std::pair<std::string, std::string>> parameters = entry.Parameters();
  std::stable_sort(parameters.begin(), parameters.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (!pattern.MatchesAttribute(name)) continue;
    out +=
        Labelled(request, Concat(entry.Name(), '/', name), Expanded(request, config, entry, value));
  }
  return out;
}

std::string Text(const PostconfRequest& request, const config::Config& config,
                 const ServicePattern& pattern, const ServiceEntry& entry) {
  switch (request.what) {
    case What::kFields:
      return Fields(request, pattern, entry);
    case What::kServiceParameters:
      return Parameters(request, config, pattern, entry);
    default:
      break;
  }
  ServiceEntry shown = entry;
  for (std::string& argument : shown.arguments) {
    argument = Expanded(request, config, entry, argument);
  }
  return Concat(shown.ToString(request.folded), "\n");
}

}  // namespace

int ShowServices(const PostconfRequest& request, const config::Config& config, Console& console) {
  const absl::StatusOr<std::vector<ServiceEntry>> entries =
      ReadEntries(Concat(request.directory, "/master.cf"));
  if (!entries.ok()) return console.Fatal(entries.status());
  std::vector<std::string> operands = request.operands;
  if (operands.empty()) operands.emplace_back("*");
  for (const std::string& operand : operands) {
    const ServicePattern pattern = ServicePattern::Parse(operand);
    bool matched = request.operands.empty();
    for (const ServiceEntry& entry : *entries) {
      if (!pattern.Matches(entry)) continue;
      const std::string text = Text(request, config, pattern, entry);
      matched |= !text.empty();
      if (!console.Write(text)) return console.WriteFailed();
    }
    if (!matched) console.Warn(Concat("unmatched request: \"", operand, "\""));
  }
  return console.Finish();
}

}  // namespace postfleet::commands
