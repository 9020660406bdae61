// What the session says of a transaction: XFORWARD, MAIL, RCPT, DATA.
#include <algorithm>
#include <string>
#include <string_view>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/smtp/command.h"
#include "services/delivery/smtp/core/session.h"
#include "services/delivery/smtp/core/session_words.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Envelope;
using mail::v1::Recipient;
using postfleet::smtp::EncodeUtf8Xtext;
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

void AppendQuoted(std::string* out, const std::string& address) {
  if (IsPlain(address)) {
    out->append(address);
  } else {
    out->append(mail::SplitAddress(address).ToSmtp());
  }
}

// What XFORWARD can say of the client.
bool IsKnown(std::string_view value) {
  return !value.empty() && mail::LowerCasedAscii(value) != "unknown";
}

bool IsAscii(std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) > 127) return false;
  }
  return true;
}

// "rfc822;user@example.com" of a client that said no ORCPT.
std::string OriginalRecipient(const Recipient& recipient, bool smtputf8) {
  const std::string& address =
      recipient.original_address().empty() ? recipient.address() : recipient.original_address();
  std::string written;
  AppendQuoted(&written, address);
  return Concat(smtputf8 && !IsAscii(written) ? "utf-8;" : "rfc822;", written);
}

// ASCII alone, whatever the server takes: RFC 6533's \x{F8} where the type is utf-8.
void AppendOrcpt(std::string* out, std::string_view orcpt) {
  const size_t semicolon = orcpt.find(';');
  if (semicolon == std::string_view::npos) return;
  const std::string_view type = orcpt.substr(0, semicolon);
  const std::string_view address = orcpt.substr(semicolon + 1);
  if (mail::LowerCasedAscii(type) != "utf-8") {
    ConcatTo(out, " ORCPT=", type, ";", EncodeXtext(address));
  } else if (mail::IsUtf8(address)) {
    ConcatTo(out, " ORCPT=", type, ";", EncodeUtf8Xtext(address));
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

// True: nothing is left to be sent.
bool Session::RefuseUnsendable() {
  if (!IsSendable(transaction_.envelope->sender())) {
    DecideOpen(MakeOutcome("5.1.7", "bad sender address syntax"));
    return true;
  }
  if (RequiresUtf8() && !features_.smtputf8) {
    DecideOpen(MakeOutcome(
        "5.6.7", Concat("SMTPUTF8 is required, but was not offered by host ", peer_.ToString())));
    return true;
  }
  if (features_.size_limit_bytes != 0 && transaction_.WireBytes() > features_.size_limit_bytes) {
    DecideOpen(MakeOutcome("5.3.4",
                           Concat("message size ", transaction_.WireBytes(), " exceeds size limit ",
                                  features_.size_limit_bytes, " of server ", peer_.ToString())));
    return true;
  }
  // A recipient that cannot be written leaves the transaction; its outcome is kept at the place of
  // its number.
  bool some = false;
  for (size_t i = 0; i < outcomes_.size(); ++i) {
    if (IsSendable(transaction_.recipients[i]->address())) {
      some = true;
      continue;
    }
    const uint32_t number = outcomes_[i].recipient_number();
    outcomes_[i] = MakeOutcome("5.1.3", "bad recipient address syntax");
    outcomes_[i].set_recipient_number(number);
  }
  return !some;
}

bool Session::RequestsUtf8() const {
  return transaction_.envelope->smtputf8_requested() || transaction_.envelope->smtputf8();
}

bool Session::RequiresUtf8() const {
  const Envelope& envelope = *transaction_.envelope;
  // What was not told apart when the message was taken in.
  if (!envelope.smtputf8_requested()) return envelope.smtputf8();
  return envelope.smtputf8_header() || !IsAscii(envelope.sender()) ||
         std::any_of(transaction_.recipients.begin(), transaction_.recipients.end(),
                     [](const Recipient* recipient) { return !IsAscii(recipient->address()); });
}

void Session::AppendGroup() {
  for (Step step = FirstStep(); step != Step::kRcpt; step = StepBehind(step)) AppendCommand(step);
  for (size_t i = 0; i < outcomes_.size(); ++i) AppendRcpt(i);
  if (!IsProbe()) AppendCommand(Step::kData);
}

// XFORWARD is said only where something is known that the server wants to know.
bool Session::WantsXforward(Step step) const {
  if (!options_.send_xforward) return false;
  const mail::v1::Origin& origin = transaction_.envelope->origin();
  const XforwardNames& names = features_.xforward;
  if (step == Step::kXforwardName) {
    return (names.name && IsKnown(origin.client_name())) ||
           (names.addr && IsKnown(origin.client_address())) ||
           (names.port && IsKnown(origin.client_port()));
  }
  return (names.proto && IsKnown(origin.protocol())) || (names.helo && !origin.helo().empty()) ||
         (names.ident && !transaction_.queue_id.empty()) ||
         (names.source && !origin.source().empty());
}

Session::Step Session::FirstStep() const {
  return WantsXforward(Step::kXforwardName) ? Step::kXforwardName : StepBehind(Step::kXforwardName);
}

// Of MAIL and what comes before it.
Session::Step Session::StepBehind(Step step) const {
  if (step == Step::kMail) return Step::kRcpt;
  const bool xforward = step == Step::kXforwardName && WantsXforward(Step::kXforwardHelo);
  return xforward ? Step::kXforwardHelo : Step::kMail;
}

// Of steps that are one command, whoever is awaited.
void Session::AppendCommand(Step step) {
  if (step == Step::kMail) return AppendMail();
  if (step == Step::kData) {
    output_ += "DATA\r\n";
    return;
  }
  AppendXforward(step);
}

void Session::AppendXforward(Step step) {
  const mail::v1::Origin& origin = transaction_.envelope->origin();
  const XforwardNames& names = features_.xforward;
  const auto append = [this](bool wanted, std::string_view name, std::string_view value) {
    if (wanted && !value.empty()) ConcatTo(&output_, " ", name, "=", EncodeXtext(value));
  };
  output_ += "XFORWARD";
  if (step == Step::kXforwardName) {
    append(names.name && IsKnown(origin.client_name()), "NAME", origin.client_name());
    const bool ipv6 = origin.client_address().find(':') != std::string::npos;
    append(names.addr && IsKnown(origin.client_address()), "ADDR",
           Concat(ipv6 ? "IPv6:" : "", origin.client_address()));
    append(names.port && IsKnown(origin.client_port()), "PORT", origin.client_port());
  } else {
    append(names.proto && IsKnown(origin.protocol()), "PROTO", origin.protocol());
    append(names.helo, "HELO", origin.helo());
    append(names.ident, "IDENT", origin.ident().empty() ? transaction_.queue_id : origin.ident());
    append(names.source, "SOURCE", origin.source());
  }
  output_ += "\r\n";
}

void Session::AppendAddress(const std::string& address) {
  if (options_.quote_addresses) {
    AppendQuoted(&output_, address);
  } else {
    output_ += address;
  }
}

void Session::AppendMail() {
  const Envelope& envelope = *transaction_.envelope;
  output_ += "MAIL FROM:<";
  AppendAddress(envelope.sender());
  output_ += '>';
  if (features_.size && !converts()) ConcatTo(&output_, " SIZE=", transaction_.WireBytes());
  if (features_.eight_bit_mime && envelope.body_8bitmime()) output_ += " BODY=8BITMIME";
  if (features_.eight_bit_mime && envelope.body_7bit()) output_ += " BODY=7BIT";
  if (features_.dsn) {
    if (!envelope.dsn_envid().empty()) {
      ConcatTo(&output_, " ENVID=", EncodeXtext(envelope.dsn_envid()));
    }
    if (envelope.dsn_return() == Envelope::RETURN_FULL) output_ += " RET=FULL";
    if (envelope.dsn_return() == Envelope::RETURN_HDRS) output_ += " RET=HDRS";
  }
  if (features_.smtputf8 && RequestsUtf8()) output_ += " SMTPUTF8";
  output_ += "\r\n";
}

void Session::AppendRcpt(size_t recipient) {
  if (!IsOpen(outcomes_[recipient])) return;
  const Recipient& to = *transaction_.recipients[recipient];
  output_ += "RCPT TO:<";
  AppendAddress(to.address());
  output_ += '>';
  if (features_.dsn) {
    AppendOrcpt(&output_,
                to.dsn_orcpt().empty() ? OriginalRecipient(to, RequestsUtf8()) : to.dsn_orcpt());
    AppendNotify(&output_, to.dsn_notify());
  }
  output_ += "\r\n";
}

}  // namespace postfleet::delivery::smtp
