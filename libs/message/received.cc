#include "libs/message/received.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace postfleet::message {
namespace {

constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr int64_t kDaySeconds = 86400;

struct Date {
  int64_t year;
  int month;  // 0 to 11
  int day;
};

// Days since 1 January 1970 to the Gregorian calendar, counted in years that start in March, so
// that the leap day is the last.
Date DateOfDay(int64_t days) {
  constexpr int64_t kEraDays = 146097, kDaysToEpoch = 719468;
  days += kDaysToEpoch;
  const int64_t era = (days >= 0 ? days : days - (kEraDays - 1)) / kEraDays;
  const int64_t day_of_era = days - era * kEraDays;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t march_month = (5 * day_of_year + 2) / 153;
  const int day = static_cast<int>(day_of_year - (153 * march_month + 2) / 5 + 1);
  const int month = static_cast<int>((march_month + 2) % 12);
  return {year_of_era + era * 400 + (month < 2 ? 1 : 0), month, day};
}

struct CivilTime {
  Date date;
  int week_day;  // 0: Sunday
  int second;    // of the day
};

CivilTime CivilTimeAt(int64_t seconds) {
  const int64_t day =
      seconds >= 0 ? seconds / kDaySeconds : -((kDaySeconds - 1 - seconds) / kDaySeconds);
  const int week_day = static_cast<int>(((day + 4) % 7 + 7) % 7);  // 1 January 1970: a Thursday
  return {DateOfDay(day), week_day, static_cast<int>(seconds - day * kDaySeconds)};
}

// Client data cannot end a line or start one.
std::string Printable(std::string_view text, std::string_view also_not = "") {
  std::string printable(text);
  for (char& c : printable) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 32 || byte == 127 || also_not.find(c) != std::string_view::npos) c = '?';
  }
  return printable;
}

// smtpd splits a command into words, and joins those of a name.
std::string SingleBlanks(std::string_view text) {
  std::string joined;
  for (char c : text) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (joined.empty() || joined.back() == ' ')) continue;
    joined.push_back(blank ? ' ' : c);
  }
  return joined;
}

std::string RfcAddress(std::string_view address) {
  const bool bare_ipv6 =
      address.find(':') != std::string_view::npos && address.substr(0, 5) != "IPv6:";
  return (bare_ipv6 ? "IPv6:" : "") + Printable(address);
}

void AppendExtraLines(std::string_view lines, std::string* out) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    *out += "\t" + Printable(line) + "\n";
  }
}

}  // namespace

std::string FormatMailDate(const MailTime& time) {
  const CivilTime civil = CivilTimeAt(time.seconds + time.utc_offset_seconds);
  const int offset_minutes = std::abs(time.utc_offset_seconds) / 60;
  char text[96];
  std::snprintf(text, sizeof text, "%s, %02d %s %lld %02d:%02d:%02d %c%02d%02d",
                kDays[civil.week_day], civil.date.day, kMonths[civil.date.month],
                static_cast<long long>(civil.date.year), civil.second / 3600,
                civil.second / 60 % 60, civil.second % 60, time.utc_offset_seconds < 0 ? '-' : '+',
                offset_minutes / 60, offset_minutes % 60);
  std::string result = text;
  if (!time.zone.empty()) result += " (" + std::string(time.zone) + ")";
  return result;
}

std::string FormatMessageId(std::string_view queue_id, std::string_view myhostname) {
  std::string id = "<";
  id.append(queue_id).append("@").append(myhostname).push_back('>');
  return id;
}

std::string FormatSmtpReceived(const SmtpReceived& received) {
  const std::string_view helo =
      received.helo_name.empty() ? received.client_name : received.helo_name;
  // What could end the words around a HELO name, as smtpd replaces it.
  const std::string words = SingleBlanks(helo);
  std::string text = "Received: from " + Printable(words, " <>()\\\";@") + " (" +
                     Printable(received.client_name) + " [" + RfcAddress(received.client_address) +
                     "])\n";
  AppendExtraLines(received.extra_lines, &text);
  text += "\tby " + std::string(received.myhostname) + " (" + std::string(received.mail_name) +
          ") with " + std::string(received.protocol) + " id " + std::string(received.queue_id);
  text +=
      received.recipient.empty() ? ";\n\t" : "\n\tfor <" + Printable(received.recipient) + ">; ";
  return text + FormatMailDate(received.time) + "\n";
}

std::string FormatLocalReceived(std::string_view myhostname, std::string_view mail_name,
                                std::string_view queue_id, int64_t user_id, const MailTime& time) {
  std::string text = "Received: by " + std::string(myhostname) + " (" + std::string(mail_name);
  if (user_id >= 0) text += ", from userid " + std::to_string(user_id);
  return text + ")\n\tid " + std::string(queue_id) + "; " + FormatMailDate(time) + "\n";
}

std::string_view ProtocolName(bool esmtp, bool tls, bool authenticated, bool smtputf8) {
  if (!esmtp) return "SMTP";
  static constexpr std::string_view kNames[2][2][2] = {
      {{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
      {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}}};
  return kNames[smtputf8][tls][authenticated];
}

}  // namespace postfleet::message
