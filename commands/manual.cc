#include "commands/manual.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string_view>
#include <system_error>

#include "commands/command_help.h"
#include "libs/base/concat.h"
#include "libs/config/parameters.h"

namespace postfleet::commands {
namespace {

using config::Parameter;
using config::ParameterStatus;
using config::ParameterType;

constexpr std::string_view kUsage = "postfleet manual FOLDER";
constexpr std::string_view kPage = "postfleet.cf";

std::string_view NameOf(ParameterType type) {
  switch (type) {
    case ParameterType::kBool:
      return "yes or no";
    case ParameterType::kInt:
      return "number";
    case ParameterType::kTime:
      return "time";
    case ParameterType::kSize:
      return "bytes";
    case ParameterType::kList:
      return "list";
    case ParameterType::kEnum:
      return "one word";
    case ParameterType::kMaps:
      return "tables";
    case ParameterType::kMatches:
      return "list of patterns and tables";
    case ParameterType::kString:
      return "text";
    case ParameterType::kRaw:
      return "text whose $names are not those of main.cf";
  }
  return "";
}

// Longer ones are shown by themselves, as one line that is not filled.
constexpr size_t kShortDefaultBytesMax = 50;
// A few are lists of half a page.
constexpr size_t kDefaultBytesMax = 400;

std::string Item(std::string_view name, std::string_view standard, std::string_view text) {
  if (standard.empty()) return ManualItem(Concat(name, " (default: empty)"), text);
  if (standard.size() <= kShortDefaultBytesMax) {
    return ManualItem(Concat(name, " (default: ", standard, ")"), text);
  }
  const std::string item = ManualItem(Concat(name, " (default: below)"), text);
  return Concat(
      item, ManualLiteral(standard.size() <= kDefaultBytesMax ? std::string(standard)
                                                              : Concat("see: postconf -d ", name)));
}

std::string TextOf(const Parameter& row) {
  std::string text(row.doc);
  if (row.status == ParameterStatus::kProtective) {
    return Concat(
        "Asks that ", row.doc, ". Instead: ", row.hint, ".",
        row.tolerated.empty() ? "" : Concat(" Taken, with a warning: ", row.tolerated, "."));
  }
  if (row.status == ParameterStatus::kUnsupported) return Concat(text, " Instead: ", row.hint, ".");
  ConcatTo(&text, " Type: ", NameOf(row.type));
  if (!row.choices.empty()) ConcatTo(&text, " of: ", row.choices);
  if (row.minimum > 0) ConcatTo(&text, ", at least ", row.minimum);
  text += '.';
  if (!row.readers.empty()) ConcatTo(&text, " Read by: ", row.readers, ".");
  if (row.status == ParameterStatus::kPartly) ConcatTo(&text, " In part: ", row.hint, ".");
  return text;
}

std::string Parameters(std::initializer_list<ParameterStatus> statuses) {
  std::string out;
  for (const Parameter& row : config::AllParameters()) {
    for (const ParameterStatus status : statuses) {
      if (row.status == status) out += Item(row.name, row.default_value, TextOf(row));
    }
  }
  return out;
}

std::string TransportParameters() {
  std::string out;
  for (const config::TransportParameter& row : config::TransportParameters()) {
    const bool honoured = row.status == ParameterStatus::kHonoured;
    out +=
        ManualItem(Concat("TRANSPORT", row.suffix, " (default: $", row.fallback, ")"),
                   honoured ? Concat("What ", row.fallback, " is for one transport of master.cf.")
                            : Concat("Not supported, as ", row.fallback, "."));
  }
  return out;
}

std::string Syntax() {
  return Concat(
      ManualParagraph("main.cf holds lines of the form"), ManualLiteral("name = value\n"),
      ManualParagraph(
          "A line that starts with white space continues the one before it; empty lines and lines "
          "whose first character is # are ignored. Of two lines with one name the last one counts. "
          "In a value, $name and ${name} are the values of other parameters, "
          "${name?{text}:{other}} "
          "is text if name is not empty and other if it is, and ${{a} == {b} ? {text} : {other}} "
          "compares (==, !=, <, <=, >=, >; <=level and its like compare compatibility levels). A "
          "list has commas or white space between its items, and may name files (/path) and tables "
          "(type:name); ! in front of an item is \"not\". A time has a unit s, m, h, d or w."),
      ManualParagraph(
          "master.cf holds a line for each service: its name (a port, host:port, or the name of a "
          "transport), its type (inet, unix), private, unprivileged, chroot, wake-up time, limit "
          "of "
          "processes, and the command with its arguments, of which -o name=value sets a parameter "
          "for this service only (-o { name = value with spaces }). The columns private, "
          "unprivileged and wake-up are read and mean nothing here, since a service is no process; "
          "chroot is warned of."),
      ManualParagraph("What is misspelled or not supported is a warning at start and in \"postfix "
                      "check\". What "
                      "would leave mail less protected than was asked for stops the start."));
}

struct Page {
  std::string name;
  int section;
  std::string text;
};

std::vector<Page> AllPages() {
  std::vector<Page> pages;
  for (const CommandHelp& help : AllCommandHelp()) {
    // These are words behind postfleet.
    const bool is_word = help.name == "queue" || help.name == "cluster";
    const std::string name = Concat(is_word ? "postfleet-" : "", help.name);
    pages.push_back({name, help.section, FormatManualPage(help)});
  }
  pages.push_back({std::string(kPage), 5, ConfigurationPage()});
  return pages;
}

absl::Status WritePage(const std::filesystem::path& path, std::string_view text) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) {
    return absl::UnknownError(
        Concat("create ", path.parent_path().string(), ": ", error.message()));
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    return absl::UnknownError(Concat("write ", path.string(), ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ConfigurationPage() {
  return Concat(
      ManualTitle(kPage, 5), ManualSection("Name"), "postfleet.cf \\- main.cf and master.cf\n",
      ManualSection("Synopsis"), ManualLiteral("/etc/postfix/main.cf\n/etc/postfix/master.cf\n"),
      ManualSection("Description"), Syntax(), ManualSection("Parameters"),
      Parameters({ParameterStatus::kHonoured, ParameterStatus::kPartly}),
      ManualSection("Parameters of every transport"), TransportParameters(),
      ManualSection("Parameters that change nothing"),
      ManualParagraph("They are accepted: what they ask for is what happens anyway."),
      Parameters({ParameterStatus::kNotYet}), ManualSection("Parameters that stop the start"),
      ManualParagraph("Set to anything but their default they ask for a protection that is not "
                      "there."),
      Parameters({ParameterStatus::kProtective}),
      ManualSection("Parameters that are not supported"),
      ManualParagraph("Set to anything but their default they are warned of and ignored."),
      Parameters({ParameterStatus::kUnsupported}), ManualSection("See also"),
      "postconf(1), postfix(1), postfleetd(8)\n");
}

int RunManual(const Invocation& call, const Streams& streams) {
  Console console("postfleet", 1, streams);
  if (call.arguments.size() != 1 || call.arguments[0].starts_with("-"))
    return console.Usage(kUsage);
  const std::filesystem::path folder = call.arguments[0];
  for (const Page& page : AllPages()) {
    const std::filesystem::path path =
        folder / Concat("man", page.section) / Concat(page.name, ".", page.section);
    if (const absl::Status written = WritePage(path, page.text); !written.ok()) {
      return console.Fatal(written);
    }
    if (!console.Write(Concat(path.string(), "\n"))) return console.WriteFailed();
  }
  return console.Finish();
}

}  // namespace postfleet::commands
