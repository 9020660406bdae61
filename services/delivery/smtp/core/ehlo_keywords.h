// What a server offers and is not to be believed (smtp_discard_ehlo_keywords), and what old PIX
// firewalls are spared (smtp_pix_workarounds): lists of words, as main.cf and tables have them,
// between commas or blanks, in any case.
//
// Cannot fail: words that are none are passed over, as in Postfix.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace postfleet::delivery::smtp {

// Those that the client looks at, and those that are only named in the log, in Postfix's order.
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

struct PixWorkarounds {
  bool disable_esmtp = false;  // HELO, not EHLO
  bool delay_dotcrlf = false;  // the dot comes alone, after a pause

  static PixWorkarounds Parse(std::string_view text);
  bool any() const { return disable_esmtp || delay_dotcrlf; }
  // "disable_esmtp delay_dotcrlf".
  std::string ToString() const;
};

// What the words behind XFORWARD in the reply to EHLO allow to be said.
struct XforwardNames {
  bool name = false;
  bool addr = false;
  bool proto = false;
  bool helo = false;
  bool ident = false;

  static XforwardNames Parse(std::string_view text);
};

}  // namespace postfleet::delivery::smtp
