// bounce_template_file (bounce(5)): whatever is in it, there are four whole templates, whose header
// values are one line of ASCII; a template that is wrong is the built-in one, and something is
// said. Expanding ends, and changes nothing where there is no `$`.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/delivery/bounce/template.h"

namespace {

using postfleet::delivery::NoticeTemplate;
using postfleet::delivery::NoticeTemplates;

void Check(bool holds) {
  if (!holds) std::abort();
}

constexpr NoticeTemplate NoticeTemplates::*kAll[] = {
    &NoticeTemplates::failure, &NoticeTemplates::delay, &NoticeTemplates::success,
    &NoticeTemplates::verify};
// A parameter's value is longer than its name.
constexpr std::string_view kValue = "86400 is a value";

void CheckHeader(std::string_view value) {
  for (const char c : value) Check(static_cast<unsigned char>(c) < 128 && c != '\n');
}

void CheckTemplate(const NoticeTemplate& notice) {
  for (const std::string& value : {notice.charset, notice.from, notice.subject}) {
    Check(!value.empty());
    CheckHeader(value);
  }
  CheckHeader(notice.postmaster_subject);
  Check(notice.body.ends_with('\n'));
  std::vector<std::string> problems;
  const std::string text = postfleet::delivery::ExpandTemplate(
      notice.body,
      [](std::string_view name) -> std::optional<std::string> {
        if (name.empty() || name.starts_with('x')) return std::nullopt;
        return std::string(kValue);
      },
      &problems);
  const auto names = static_cast<size_t>(std::count(notice.body.begin(), notice.body.end(), '$'));
  Check(text.size() <= notice.body.size() + names * kValue.size() && problems.size() <= names);
  if (names == 0) Check(text == notice.body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const NoticeTemplates built_in = NoticeTemplates::BuiltIn();
  for (const bool whole : {true, false}) {
    const std::string file =
        whole ? std::string(text) : "failure_template = <<E\n" + std::string(text) + "\nE\n";
    std::vector<std::string> problems;
    const NoticeTemplates read = postfleet::delivery::ParseTemplates(file, "FILE", &problems);
    for (const auto which : kAll) CheckTemplate(read.*which);
    for (const std::string& problem : problems) Check(!problem.empty());
    if (!whole && problems.empty()) Check(read.failure.body != built_in.failure.body);
  }
  return 0;
}
