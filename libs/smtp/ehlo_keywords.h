// The words of an EHLO reply that are not to be offered, or not to be believed
// (smtpd_discard_ehlo_keywords, smtp_discard_ehlo_keywords and the tables beside them): between
// commas or blanks, in any case.
//
// Cannot fail: words that are none are passed over, as in Postfix.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace postfleet::smtp {

// In the order in which the log names them.
inline constexpr std::array<std::string_view, 14> kEhloKeywords = {
    "8BITMIME", "AUTH",     "ETRN",     "PIPELINING",          "SIZE", "VERP",     "VRFY",
    "XCLIENT",  "XFORWARD", "STARTTLS", "ENHANCEDSTATUSCODES", "DSN",  "SMTPUTF8", "CHUNKING"};

class EhloKeywords {
 public:
  EhloKeywords() = default;
  explicit EhloKeywords(std::string_view text);

  bool empty() const { return names_.empty(); }
  // `keyword` in any case.
  bool Contains(std::string_view keyword) const;
  // "silent-discard" is among them: nothing for the log.
  bool silent() const { return silent_; }
  // "PIPELINING SIZE".
  const std::string& names() const { return names_; }

 private:
  std::string names_;
  bool silent_ = false;
};

// Such a list, whatever its words mean, has `wanted`, which is in lower case.
bool HasListedWord(std::string_view text, std::string_view wanted);

}  // namespace postfleet::smtp
