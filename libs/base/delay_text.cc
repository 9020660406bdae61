#include "libs/base/delay_text.h"

#include <algorithm>
#include <cstdio>

#include "libs/base/concat.h"

namespace postfleet {

std::string DelayText(int64_t ms) {
  ms = std::max<int64_t>(ms, 0);
  if (ms >= 9'950) return Concat((ms + 500) / 1000);
  const int64_t hundredths = ms >= 995 ? (ms + 50) / 100 * 10 : (ms + 5) / 10;
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", static_cast<double>(hundredths) / 100);
  std::string digits = text;
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return digits;
}

}  // namespace postfleet
