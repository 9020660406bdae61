// The texts of notices (bounce(5)): built in, or those of bounce_template_file, which is a sequence
// of
//
//   failure_template = <<EOF
//   Charset: us-ascii
//   From: Mail Delivery System <MAILER-DAEMON>
//   Subject: Undelivered Mail Returned to Sender
//   Postmaster-Subject: Postmaster Copy: Undelivered Mail
//
//   This is the mail system at host $myhostname.
//   EOF
//
// for failure_, delay_, success_ and verify_template, with comments and empty lines between them. A
// template that is wrong, or missing, is the built-in one; what is wrong is said.
//
// In a body, $name, ${name} and $(name) are parameters of main.cf;
// delay_warning_time and maximal_queue_lifetime take the suffixes _seconds, _minutes, _hours, _days
// and _weeks. "$$" is "$". Headers are not expanded.
//
// Bounds: a file of at most kTemplateFileBytesMax. Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::delivery {

inline constexpr size_t kTemplateFileBytesMax = 256 << 10;

struct NoticeTemplate {
  std::string charset;
  std::string from;  // "Mail Delivery System <MAILER-DAEMON>"
  std::string subject;
  std::string postmaster_subject;
  std::string body;  // lines with LF

  friend bool operator==(const NoticeTemplate&, const NoticeTemplate&) = default;
};

struct NoticeTemplates {
  NoticeTemplate failure;
  NoticeTemplate delay;
  NoticeTemplate success;
  NoticeTemplate verify;

  static NoticeTemplates BuiltIn();
};

// The templates of a file's text; what is wrong is appended to `problems`, as lines for the log
// ("FILE, line 3: ..."). `file` is its name.
NoticeTemplates ParseTemplates(std::string_view text, std::string_view file,
                               std::vector<std::string>* problems);

// `text` with its parameters. `value` answers with a parameter's value; nullopt: it is not known,
// and stays empty. "delay_warning_time" and "maximal_queue_lifetime" are asked for in seconds, as a
// number, when a suffix is used. Problems are appended: a time that is less than its unit, an
// unknown name.
std::string ExpandTemplate(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view name)>& value,
    std::vector<std::string>* problems);

}  // namespace postfleet::delivery
