#include "services/delivery/core/mailbox_fields.h"

#include <time.h>

#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::delivery {

std::string AddressInHeader(const std::string& address) {
  std::string text = address.empty() ? "" : mail::QuoteAddress(address);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = '?';
  }
  return text;
}

std::string MboxFromLine(const std::string& sender, int64_t wall_ms) {
  const time_t seconds = static_cast<time_t>(wall_ms / 1000);
  tm local = {};
  localtime_r(&seconds, &local);
  char date[64] = {};
  strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &local);
  return Concat("From ", sender.empty() ? "MAILER-DAEMON" : AddressInHeader(sender), "  ",
                std::string_view(date), "\n");
}

}  // namespace postfleet::delivery
