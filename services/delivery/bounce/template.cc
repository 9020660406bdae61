#include "services/delivery/bounce/template.h"

#include <algorithm>
#include <charconv>

#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::delivery {
namespace {

constexpr std::string_view kFrom = "Mail Delivery System <MAILER-DAEMON>";
constexpr std::string_view kAssistance =
    "For further assistance, please send mail to postmaster.\n\n"
    "If you do so, please include this problem report. You can\n"
    "delete your own text from the attached returned message.\n\n"
    "                   The mail system\n";
constexpr std::string_view kHost = "This is the mail system at host $myhostname.\n\n";

struct Header {
  std::string_view name;
  std::string NoticeTemplate::*field;
};
constexpr Header kHeaders[] = {{"charset", &NoticeTemplate::charset},
                               {"from", &NoticeTemplate::from},
                               {"subject", &NoticeTemplate::subject},
                               {"postmaster-subject", &NoticeTemplate::postmaster_subject}};

struct Place {
  std::string_view name;
  NoticeTemplate NoticeTemplates::*which;
};
constexpr Place kPlaces[] = {{"failure_template", &NoticeTemplates::failure},
                             {"delay_template", &NoticeTemplates::delay},
                             {"success_template", &NoticeTemplates::success},
                             {"verify_template", &NoticeTemplates::verify}};

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Takes one line, without its LF.
std::string_view TakeLine(std::string_view* rest, size_t* number) {
  const size_t end = rest->find('\n');
  const std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  ++*number;
  return line;
}

// "failure_template = <<EOF" or "failure_template = text": false: no such line.
bool SplitOpening(std::string_view line, std::string_view* name, std::string_view* value) {
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) return false;
  *name = Trimmed(line.substr(0, equals));
  *value = Trimmed(line.substr(equals + 1));
  return !name->empty();
}

// Takes lines up to `end_mark`, or all; false: it is not there.
bool TakeHereDocument(std::string_view end_mark, std::string_view* rest, size_t* number,
                      std::string_view* document) {
  const std::string_view all = *rest;
  while (!rest->empty()) {
    const size_t size = all.size() - rest->size();
    if (TakeLine(rest, number) == end_mark) {
      *document = all.substr(0, size);
      return true;
    }
  }
  *document = all;
  return false;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 128; });
}

// "Subject: value", a line of a header.
bool SplitField(std::string_view line, std::string_view* name, std::string_view* value) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  *name = Trimmed(line.substr(0, colon));
  *value = Trimmed(line.substr(colon + 1));
  return !IsBlank(line.front()) && name->find_first_of(" \t") == std::string_view::npos;
}

// What is in `text` replaces what `read` has; or what is wrong with it. The header ends where a
// line is none of its own: an empty one, or already text.
std::vector<std::string> ReadTemplate(std::string_view text, NoticeTemplate* read) {
  size_t number = 0;
  while (!text.empty()) {
    std::string_view rest = text;
    const std::string_view line = TakeLine(&rest, &number);
    std::string_view name;
    std::string_view value;
    if (!SplitField(line, &name, &value)) {
      if (line.empty()) text = rest;
      break;
    }
    text = rest;
    const std::string label = mail::LowerCasedAscii(name);
    const auto* header = std::find_if(std::begin(kHeaders), std::end(kHeaders),
                                      [&](const Header& row) { return row.name == label; });
    if (header == std::end(kHeaders)) return {Concat("unknown \"", name, "\" header label")};
    if (value.empty()) return {Concat("empty \"", name, "\" header value")};
    if (!IsAscii(value)) return {Concat("non-ASCII \"", name, "\" header value")};
    read->*(header->field) = std::string(value);
  }
  if (text.empty()) return {"missing message text"};
  read->body = Concat(text, text.back() == '\n' ? "" : "\n");
  if (!IsAscii(text) && mail::LowerCasedAscii(read->charset) == "us-ascii") {
    return {"8-bit message text", "please specify a charset value other than us-ascii"};
  }
  return {};
}

// "delay_warning_time_hours": the parameter and its unit in seconds; 0: no suffix of time.
int64_t SplitUnit(std::string_view name, std::string_view* parameter) {
  struct Unit {
    std::string_view suffix;
    int64_t seconds;
  };
  static constexpr Unit kUnits[] = {
      {"_seconds", 1}, {"_minutes", 60}, {"_hours", 3600}, {"_days", 86'400}, {"_weeks", 604'800}};
  for (const std::string_view time : {"delay_warning_time", "maximal_queue_lifetime"}) {
    if (!name.starts_with(time)) continue;
    for (const Unit& unit : kUnits) {
      if (name.substr(time.size()) != unit.suffix) continue;
      *parameter = time;
      return unit.seconds;
    }
  }
  return 0;
}

}  // namespace

NoticeTemplates NoticeTemplates::BuiltIn() {
  const auto made = [](std::string_view subject, std::string_view postmaster_subject,
                       std::string_view text, std::string_view end) {
    return NoticeTemplate{.charset = "us-ascii",
                          .from = std::string(kFrom),
                          .subject = std::string(subject),
                          .postmaster_subject = std::string(postmaster_subject),
                          .body = Concat(kHost, text, end)};
  };
  return {
      .failure = made("Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail",
                      "I'm sorry to have to inform you that your message could not\n"
                      "be delivered to one or more recipients. It's attached below.\n\n",
                      kAssistance),
      .delay = made("Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail",
                    "####################################################################\n"
                    "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n"
                    "####################################################################\n\n"
                    "Your message could not be delivered for more than "
                    "$delay_warning_time_hours hour(s).\n"
                    "It will be retried until it is $maximal_queue_lifetime_days day(s) old.\n\n",
                    kAssistance),
      .success = made("Successful Mail Delivery Report", "",
                      "Your message was successfully delivered to the destination(s)\n"
                      "listed below. If the message was delivered to mailbox you will\n"
                      "receive no further notifications. Otherwise you may still receive\n"
                      "notifications of mail delivery errors from other systems.\n\n",
                      "                   The mail system\n"),
      .verify = made("Mail Delivery Status Report", "",
                     "Enclosed is the mail delivery report that you requested.\n\n",
                     "                   The mail system\n")};
}

NoticeTemplates ParseTemplates(std::string_view text, std::string_view file,
                               std::vector<std::string>* problems) {
  NoticeTemplates templates = NoticeTemplates::BuiltIn();
  size_t number = 0;
  const auto complain = [&](size_t line, std::string_view what) {
    problems->push_back(Concat(file, ", line ", line, ": ", what));
  };
  if (text.size() > kTemplateFileBytesMax) {
    complain(1, Concat("larger than ", kTemplateFileBytesMax, " bytes -- ignoring this file"));
    return templates;
  }
  while (!text.empty()) {
    const std::string_view line = TakeLine(&text, &number);
    if (Trimmed(line).empty() || line.front() == '#') continue;
    std::string_view name;
    std::string_view text_of_one;
    if (!SplitOpening(line, &name, &text_of_one)) {
      complain(number, Concat("missing '=' after attribute name: \"", line, "\""));
      continue;
    }
    if (text_of_one.starts_with("<<")) {
      const std::string_view end_mark = Trimmed(text_of_one.substr(2));
      if (!TakeHereDocument(end_mark, &text, &number, &text_of_one)) {
        complain(number + 1, Concat("missing \"", end_mark, "\" end marker"));
      }
    }
    const auto* place = std::find_if(std::begin(kPlaces), std::end(kPlaces),
                                     [&](const Place& row) { return row.name == name; });
    if (place == std::end(kPlaces)) {
      complain(number + 1, Concat("unknown template name: ", name, " -- ignoring this template"));
      continue;
    }
    NoticeTemplate read = NoticeTemplates::BuiltIn().*(place->which);
    std::vector<std::string> wrong = ReadTemplate(text_of_one, &read);
    if (wrong.empty()) {
      templates.*(place->which) = std::move(read);
      continue;
    }
    const std::string_view kind = name.substr(0, name.find('_'));
    wrong[0] = Concat(file, ": ", wrong[0], " in ", kind, " template -- ignoring this template");
    problems->insert(problems->end(), wrong.begin(), wrong.end());
  }
  return templates;
}

std::string ExpandTemplate(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view name)>& value,
    std::vector<std::string>* problems) {
  std::string out;
  while (true) {
    const size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos || dollar + 1 == text.size()) return out;
    text.remove_prefix(dollar + 1);
    if (text.front() == '$') {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    const char close = text.front() == '{' ? '}' : text.front() == '(' ? ')' : '\0';
    if (close != '\0') text.remove_prefix(1);
    const auto* end = std::find_if_not(text.begin(), text.end(), IsNameByte);
    const std::string_view name = text.substr(0, static_cast<size_t>(end - text.begin()));
    text.remove_prefix(name.size());
    if (close != '\0' && !text.empty() && text.front() == close) text.remove_prefix(1);

    std::string_view parameter = name;
    const int64_t unit = SplitUnit(name, &parameter);
    const std::optional<std::string> found = value(parameter);
    if (!found) {
      problems->push_back(Concat("unknown parameter \"", name, "\" in a notice's template"));
      continue;
    }
    if (unit == 0) {
      out += *found;
      continue;
    }
    int64_t seconds = 0;
    std::from_chars(found->data(), found->data() + found->size(), seconds);
    if (seconds / unit == 0) {
      problems->push_back(Concat("\"", name, "\" in a notice's template is zero: ", seconds,
                                 " seconds are less than the unit; take a smaller one"));
    }
    ConcatTo(&out, seconds / unit);
  }
}

}  // namespace postfleet::delivery
