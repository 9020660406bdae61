#include "commands/postconf_request.h"

#include <algorithm>
#include <utility>

#include "commands/options.h"
#include "libs/base/concat.h"
#include "libs/config/values.h"

namespace postfleet::commands {
namespace {

using What = PostconfRequest::What;
using Edit = PostconfRequest::Edit;

constexpr std::string_view kKnown = "aAbc:C:deEfFhHlmMno:pPqtT:vxX#";

// Options of which only one can be said, in the order in which they are named.
constexpr std::string_view kExclusive[] = {"aAbFlmMpPtT", "denX#", "efX#", "ehX#", "eHX#",
                                           "eoX#",        "exX#",  "do",   "hH"};

// What does not go with an option that says what is shown.
struct Misfits {
  std::string_view letters;
  std::string_view others;
};
constexpr Misfits kMisfits[] = {
    {"aAblmtT", "defhHnoxX#"}, {"M", "dhHn"}, {"F", "dnX#"}, {"P", "dn#"}};

absl::Status CheckTogether(std::string_view said) {
  const auto is_said = [&](char letter) { return said.find(letter) != said.npos; };
  if (is_said('b') && is_said('t')) return absl::InvalidArgumentError("specify one of -b and -t");
  for (std::string_view group : kExclusive) {
    std::string both;
    for (const char letter : group) {
      if (is_said(letter)) ConcatTo(&both, " -", letter);
    }
    if (both.size() > 3) return absl::InvalidArgumentError(Concat("specify one of", both));
  }
  for (const Misfits& row : kMisfits) {
    for (const char letter : row.letters) {
      if (!is_said(letter)) continue;
      for (const char other : row.others) {
        if (!is_said(other)) continue;
        return absl::InvalidArgumentError(
            Concat("with option -", letter, ", do not specify -", other));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadClasses(std::string_view text, PostconfRequest* request) {
  request->builtin = request->service_defined = request->user_defined = false;
  for (const std::string& name : config::SplitList(text)) {
    const bool all = name == "all";
    if (!all && name != "builtin" && name != "service" && name != "user") {
      return absl::InvalidArgumentError(
          Concat("unknown -C option value \"", name, "\" in \"", text, "\""));
    }
    request->builtin |= all || name == "builtin";
    request->service_defined |= all || name == "service";
    request->user_defined |= all || name == "user";
  }
  return absl::OkStatus();
}

absl::Status Take(const Option& option, PostconfRequest* request) {
  switch (option.letter) {
    case 'a':
    case 'A':
      request->lists_login_types = true;
      break;
    case 'b':
      request->expands_templates = true;
      break;
    case 'c':
      request->directory = option.argument;
      break;
    case 'C':
      return ReadClasses(option.argument, request);
    case 'd':
      request->defaults = true;
      break;
    case 'e':
      request->edit = Edit::kSet;
      break;
    case 'f':
      request->folded = true;
      break;
    case 'F':
      request->what = What::kFields;
      break;
    case 'h':
      request->values_only = true;
      break;
    case 'H':
      request->names_only = true;
      break;
    case 'l':
      request->lists_locks = true;
      break;
    case 'm':
      request->lists_tables = true;
      break;
    case 'M':
      request->what = What::kServices;
      break;
    case 'n':
      request->only_set = true;
      break;
    case 'o':
      request->overrides.push_back(option.argument);
      break;
    case 'P':
      request->what = What::kServiceParameters;
      break;
    case 'q':
      request->quiet = true;
      break;
    case 't':
      request->shows_templates = true;
      break;
    case 'T':
      request->tls_mode = option.argument;
      break;
    case 'x':
      request->expanded = true;
      break;
    case 'X':
      request->edit = Edit::kRemove;
      break;
    case '#':
      request->edit = Edit::kComment;
      break;
    case 'p':
    case 'v':
      break;
    default:
      return absl::UnimplementedError(Concat("option -", option.letter));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostconfRequest> PostconfRequest::Parse(const std::vector<std::string>& arguments,
                                                       std::string config_directory) {
  absl::StatusOr<CommandLine> line = ParseOptions(arguments, kKnown);
  if (!line.ok()) {
    return absl::OutOfRangeError(line.status().message());
  }
  PostconfRequest request;
  request.directory = std::move(config_directory);
  std::string said;
  for (const Option& option : line->options) {
    if (said.find(option.letter) == said.npos) said += option.letter;
    if (absl::Status status = Take(option, &request); !status.ok()) return status;
  }
  if (absl::Status status = CheckTogether(said); !status.ok()) return status;
  request.operands = std::move(line->operands);
  // Whoever gives a value wants it set.
  const bool assigns =
      std::any_of(request.operands.begin(), request.operands.end(),
                  [](const std::string& operand) { return operand.find('=') != operand.npos; });
  if (request.edit == Edit::kNone && assigns) {
    request.edit = Edit::kSet;
    if (absl::Status status = CheckTogether(said + 'e'); !status.ok()) return status;
  }
  return request;
}

}  // namespace postfleet::commands
