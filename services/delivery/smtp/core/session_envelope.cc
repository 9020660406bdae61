// The session's MAIL and RCPT commands.
#include <string>
#include <string_view>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/smtp/command.h"
#include "services/delivery/smtp/core/session.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Envelope;
using mail::v1::Recipient;
using postfleet::smtp::EncodeXtext;

struct NotifyWord {
  mail::v1::NotifyFlag flag;
  std::string_view word;
};
// In Postfix's order.
constexpr NotifyWord kNotifyWords[] = {
    {mail::v1::NOTIFY_FLAG_NEVER, "NEVER"},
    {mail::v1::NOTIFY_FLAG_SUCCESS, "SUCCESS"},
    {mail::v1::NOTIFY_FLAG_FAILURE, "FAILURE"},
    {mail::v1::NOTIFY_FLAG_DELAY, "DELAY"},
};

bool IsPlainByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '+' || c == '=';
}

// Most addresses need no quotes: letters, digits and single dots around one `@`.
bool IsPlain(std::string_view address) {
  bool domain = false;
  char previous = '.';
  for (char c : address) {
    if (c == '@') {
      if (domain || previous == '.') return false;
      domain = true;
      c = '.';
    } else if (c == '.' ? previous == '.' : !IsPlainByte(c)) {
      return false;
    }
    previous = c;
  }
  return previous != '.';
}

void AppendAddress(std::string* out, const std::string& address) {
  if (IsPlain(address)) {
    out->append(address);
  } else {
    out->append(mail::SplitAddress(address).ToSmtp());
  }
}

bool IsAscii(std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) > 127) return false;
  }
  return true;
}

// RFC 6533, 3, utf-8-addr-unitext: what xtext would encode is \x{2B}; bytes over 127 stay.
void AppendUnitext(std::string* out, std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 32 && byte != 127 && c != '+' && c != '=' && c != '\\') {
      *out += c;
    } else {
      ConcatTo(out, "\\x{", std::string_view(&kHex[byte >> 4], 1),
               std::string_view(&kHex[byte & 15], 1), "}");
    }
  }
}

// "rfc822;user@example.com" of a client that said no ORCPT.
std::string OriginalRecipient(const Recipient& recipient, bool smtputf8) {
  const std::string& address =
      recipient.original_address().empty() ? recipient.address() : recipient.original_address();
  std::string written;
  AppendAddress(&written, address);
  return Concat(smtputf8 && !IsAscii(written) ? "utf-8;" : "rfc822;", written);
}

void AppendOrcpt(std::string* out, std::string_view orcpt, bool smtputf8) {
  const size_t semicolon = orcpt.find(';');
  if (semicolon == std::string_view::npos) return;
  const std::string_view type = orcpt.substr(0, semicolon);
  const std::string_view address = orcpt.substr(semicolon + 1);
  ConcatTo(out, " ORCPT=", type, ";");
  if (smtputf8 && mail::LowerCasedAscii(type) == "utf-8") {
    AppendUnitext(out, address);
  } else {
    out->append(EncodeXtext(address));
  }
}

void AppendNotify(std::string* out, uint32_t notify) {
  std::string_view before = " NOTIFY=";
  for (const NotifyWord& word : kNotifyWords) {
    if ((notify & word.flag) == 0) continue;
    ConcatTo(out, before, word.word);
    before = ",";
  }
}

}  // namespace

void Session::AppendMail() {
  const Envelope& envelope = *transaction_.envelope;
  output_ += "MAIL FROM:<";
  AppendAddress(&output_, envelope.sender());
  output_ += '>';
  if (features_.size && !converts()) ConcatTo(&output_, " SIZE=", transaction_.content_bytes);
  if (features_.eight_bit_mime && envelope.body_8bitmime()) output_ += " BODY=8BITMIME";
  if (features_.dsn) {
    if (!envelope.dsn_envid().empty()) {
      ConcatTo(&output_, " ENVID=", EncodeXtext(envelope.dsn_envid()));
    }
    if (envelope.dsn_return() == Envelope::RETURN_FULL) output_ += " RET=FULL";
    if (envelope.dsn_return() == Envelope::RETURN_HDRS) output_ += " RET=HDRS";
  }
  if (features_.smtputf8 && envelope.smtputf8()) output_ += " SMTPUTF8";
  output_ += "\r\n";
}

void Session::AppendRcpt(size_t recipient) {
  if (outcomes_[recipient].action() != mail::v1::Outcome::ACTION_UNSPECIFIED) return;
  const Recipient& to = *transaction_.recipients[recipient];
  output_ += "RCPT TO:<";
  AppendAddress(&output_, to.address());
  output_ += '>';
  if (features_.dsn) {
    const bool smtputf8 = features_.smtputf8 && transaction_.envelope->smtputf8();
    AppendOrcpt(&output_, to.dsn_orcpt().empty() ? OriginalRecipient(to, smtputf8) : to.dsn_orcpt(),
                smtputf8);
    AppendNotify(&output_, to.dsn_notify());
  }
  output_ += "\r\n";
}

}  // namespace postfleet::delivery::smtp
