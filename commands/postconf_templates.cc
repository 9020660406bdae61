#include "commands/postconf_templates.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/base/concat.h"
#include "libs/config/config.h"
#include "libs/config/file_text.h"
#include "services/delivery/bounce/template.h"

namespace postfleet::commands {
namespace {

using delivery::NoticeTemplate;
using delivery::NoticeTemplates;

struct Place {
  std::string_view name;
  NoticeTemplate NoticeTemplates::*which;
};
constexpr Place kPlaces[] = {{"failure", &NoticeTemplates::failure},
                             {"delay", &NoticeTemplates::delay},
                             {"success", &NoticeTemplates::success},
                             {"verify", &NoticeTemplates::verify}};

std::string AsWritten(std::string_view name, const NoticeTemplate& text) {
  std::string out = Concat(name, "_template = <<EOF\nCharset: ", text.charset,
                           "\nFrom: ", text.from, "\nSubject: ", text.subject, "\n");
  if (!text.postmaster_subject.empty()) {
    ConcatTo(&out, "Postmaster-Subject: ", text.postmaster_subject, "\n");
  }
  return Concat(out, "\n", text.body, "EOF\n");
}

// NotFound: a $name that nobody knows.
absl::StatusOr<std::string> Expanded(const config::Config& config, const Place& place,
                                     const NoticeTemplate& text, Console& console) {
  std::optional<std::string> unknown;
  const auto value = [&](std::string_view name) -> std::optional<std::string> {
    if (name == "delay_warning_time" || name == "maximal_queue_lifetime") {
      return std::to_string(absl::ToInt64Seconds(config.GetTime(name)));
    }
    const absl::StatusOr<std::string> found = config.FindExpanded(name);
    if (found.ok()) return *found;
    unknown = std::string(name);
    return std::nullopt;
  };
  std::vector<std::string> problems;
  const std::string body = delivery::ExpandTemplate(text.body, value, &problems);
  if (unknown) {
    return absl::NotFoundError(Concat("undefined $name in ", place.name, " template: $", *unknown));
  }
  // Without warnings of delay their time is no mistake.
  const bool used =
      place.name != "delay" || config.GetTime("delay_warning_time") > absl::ZeroDuration();
  for (const std::string& problem : problems) {
    if (used) console.Warn(problem);
  }
  return Concat("expanded_", place.name, "_text = <<EOF\n", body, "EOF\n");
}

}  // namespace

int ShowTemplates(const PostconfRequest& request, Console& console) {
  if (request.operands.size() > 1) {
    return console.Fatal("options -b and -t require at most one template file");
  }
  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      request.directory, {"bounce_template_file", "delay_warning_time", "maximal_queue_lifetime"});
  if (!config.ok()) return console.Fatal(config.status());
  const std::string path = request.operands.empty() ? config->GetString("bounce_template_file")
                                                    : request.operands.front();
  NoticeTemplates templates = NoticeTemplates::BuiltIn();
  if (!path.empty()) {
    const absl::StatusOr<std::string> file = config::ReadFileText(path);
    if (!file.ok()) return console.Fatal(file.status());
    std::vector<std::string> problems;
    templates = delivery::ParseTemplates(*file, path, &problems);
    for (const std::string& problem : problems) console.Warn(problem);
  }
  std::string out;
  for (const Place& place : kPlaces) {
    const NoticeTemplate& text = templates.*(place.which);
    if (!out.empty()) out += "\n";
    if (request.shows_templates) {
      out += AsWritten(place.name, text);
      continue;
    }
    const absl::StatusOr<std::string> expanded = Expanded(*config, place, text, console);
    if (!expanded.ok()) {
      return console.Fatal(Concat(path, ": ",
                                  std::string_view(expanded.status().message().data(),
                                                   expanded.status().message().size())));
    }
    out += *expanded;
  }
  return console.Write(out) ? console.Finish() : console.WriteFailed();
}

}  // namespace postfleet::commands
