// xtext (RFC 3461, 4; RFC 6533, 3) and the parameters that have it: what is decoded is written so
// that it decodes to the same; what is written is printable ASCII without blanks; what MAIL and
// RCPT take of it has no byte that ends a line.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/mail/address.h"
#include "libs/smtp/command.h"

namespace {

using namespace postfleet::smtp;

void Check(bool holds) {
  if (!holds) std::abort();
}

bool IsPlain(std::string_view text, char least) {
  return std::none_of(text.begin(), text.end(), [least](char c) {
    return (static_cast<unsigned char>(c) < 128 && c < least) || c == 127;
  });
}

void CheckEncoded(std::string_view encoded) {
  Check(IsPlain(encoded, '!') && encoded.find('=') == encoded.npos);
  for (const char c : encoded) Check(static_cast<unsigned char>(c) < 128);
}

void CheckXtext(std::string_view text) {
  const std::string encoded = EncodeXtext(text);
  CheckEncoded(encoded);
  Check(DecodeXtext(encoded) == text);
  if (const auto decoded = DecodeXtext(text)) Check(DecodeXtext(EncodeXtext(*decoded)) == decoded);
}

void CheckUtf8(std::string_view text) {
  const auto decoded = DecodeUtf8Xtext(text);
  Check(!decoded || postfleet::mail::IsUtf8(*decoded));
  if (!postfleet::mail::IsUtf8(text) || text.find('\0') != text.npos) return;
  const std::string encoded = EncodeUtf8Xtext(text);
  CheckEncoded(encoded);
  Check(DecodeUtf8Xtext(encoded) == text);
}

void CheckParameters(const std::string& text, const PathSyntax& syntax) {
  MailCommand mail;
  for (const std::string_view name : {"ENVID=", "AUTH=", "RET="}) {
    if (ParseMail("FROM:<a@b> " + std::string(name) + text, syntax, &mail)) mail = {};
    Check(IsPlain(mail.envid, ' ') && mail.envid.size() <= 100);
    Check(mail.ret.empty() || mail.ret == "FULL" || mail.ret == "HDRS");
  }
  RcptCommand rcpt;
  for (const std::string_view name : {"ORCPT=", "ORCPT=rfc822;", "ORCPT=utf-8;", "NOTIFY="}) {
    if (ParseRcpt("TO:<a@b> " + std::string(name) + text, syntax, true, &rcpt)) rcpt = {};
    Check(IsPlain(rcpt.orcpt, ' '));
    Check((rcpt.notify & kNotifyNever) == 0 || rcpt.notify == kNotifyNever);
    rcpt = {};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  CheckXtext(text);
  CheckUtf8(text);
  CheckParameters(text, {.dsn = (data[0] & 1) == 0, .auth = (data[0] & 2) != 0});
  return 0;
}
