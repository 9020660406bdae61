// What old PIX firewalls are spared (smtp_pix_workarounds), and what a server's XFORWARD takes:
// lists of words, as main.cf and tables have them, between commas or blanks, in any case.
//
// Cannot fail: words that are none are passed over, as in Postfix.
#pragma once

#include <string>
#include <string_view>

#include "libs/smtp/ehlo_keywords.h"

namespace postfleet::delivery::smtp {

using postfleet::smtp::EhloKeywords;

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
  bool port = false;
  bool proto = false;
  bool helo = false;
  bool ident = false;
  bool source = false;

  static XforwardNames Parse(std::string_view text);
};

}  // namespace postfleet::delivery::smtp
