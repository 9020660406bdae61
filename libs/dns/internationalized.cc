#include "libs/dns/internationalized.h"

#include <idn2.h>

#include <algorithm>
#include <memory>

namespace postfleet::dns {

std::string AsciiName(std::string_view name) {
  std::string given(name);
  const bool ascii = std::all_of(given.begin(), given.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 128; });
  if (ascii || given.find('\0') != std::string::npos) return given;
  char* converted = nullptr;
  if (idn2_to_ascii_8z(given.c_str(), &converted, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
      IDN2_OK) {
    return given;
  }
  const std::unique_ptr<char, decltype(&idn2_free)> freed(converted, idn2_free);
  return std::string(converted);
}

}  // namespace postfleet::dns
