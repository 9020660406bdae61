#include "libs/smtp/command.h"

#include <algorithm>
#include <charconv>

namespace postfleet::smtp {
namespace {

using mail::EnhancedStatus;

constexpr EnhancedStatus kBadArguments{5, 5, 4};
constexpr EnhancedStatus kTooBig{5, 3, 4};
constexpr EnhancedStatus kBadSender{5, 1, 7};
constexpr EnhancedStatus kBadRecipient{5, 1, 3};
constexpr EnhancedStatus kNonAsciiAddress{5, 6, 7};
constexpr EnhancedStatus kPolicy{5, 7, 1};

// RFC 3461, 4.4 and 5: what DSN parameters may hold once decoded.
constexpr size_t kEnvidBytesMax = 100;
constexpr size_t kOrcptBytesMax = 500;

struct VerbRow {
  std::string_view name;
  Verb verb;
};
constexpr VerbRow kVerbs[] = {
    {"HELO", Verb::kHelo},         {"EHLO", Verb::kEhlo},       {"LHLO", Verb::kLhlo},
    {"MAIL", Verb::kMail},         {"RCPT", Verb::kRcpt},       {"DATA", Verb::kData},
    {"BDAT", Verb::kBdat},         {"RSET", Verb::kRset},       {"NOOP", Verb::kNoop},
    {"VRFY", Verb::kVrfy},         {"EXPN", Verb::kExpn},       {"ETRN", Verb::kEtrn},
    {"HELP", Verb::kHelp},         {"QUIT", Verb::kQuit},       {"AUTH", Verb::kAuth},
    {"STARTTLS", Verb::kStarttls}, {"XCLIENT", Verb::kXclient}, {"XFORWARD", Verb::kXforward},
};

bool IsBlank(char c) { return c == ' ' || c == '\t'; }
char Upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c; }

bool SameWord(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Upper(x) == Upper(y); });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view TakeWord(std::string_view* text) {
  *text = Trim(*text);
  const std::string_view word = text->substr(0, text->find_first_of(" \t"));
  text->remove_prefix(word.size());
  *text = Trim(*text);
  return word;
}

Reply Error(int code, EnhancedStatus status, std::string text) {
  return Reply(code, status, std::move(text));
}

// "FROM:" or "TO:"; blanks may follow the colon, as Postfix takes them.
bool TakeKeyword(std::string_view keyword, std::string_view* text) {
  if (!SameWord(text->substr(0, keyword.size()), keyword)) return false;
  std::string_view rest = text->substr(keyword.size());
  if (rest.empty() || rest.front() != ':') return false;
  *text = Trim(rest.substr(1));
  return !text->empty();
}

bool HasNonAscii(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 127; });
}

std::string WithoutBrackets(std::string_view path) {
  path = Trim(path);
  if (path.size() >= 2 && path.front() == '<' && path.back() == '>')
    path = path.substr(1, path.size() - 2);
  while (!path.empty() && IsBlank(path.back())) path.remove_suffix(1);
  return std::string(path);
}

struct PathResult {
  std::optional<Reply> error;
  mail::Address address;
  std::string text;
};

// The path at the front of `*rest`; leaves the parameters.
// `said`: MAIL's SMTPUTF8.
PathResult TakePath(std::string_view* rest, const PathSyntax& syntax, bool said,
                    const Reply& bad_syntax) {
  PathResult result;
  mail::PathOptions options = syntax.path;
  options.allow_non_ascii |= said;
  auto path = mail::ParsePath(*rest, options);
  if (!path.ok()) return result.error = bad_syntax, result;
  const bool option = !syntax.allow_min_user && path->address.local_part.starts_with('-');
  if (option) return result.error = bad_syntax, result;
  const std::string_view written = rest->substr(0, path->length);
  if (syntax.strict_smtputf8 && !said && HasNonAscii(written)) {
    result.error = Error(553, kNonAsciiAddress, "Must declare SMTPUTF8 to send unicode address");
    return result;
  }
  result.text = WithoutBrackets(written);
  result.address = std::move(path->address);
  rest->remove_prefix(path->length);
  return result;
}

// Digits only; as large as fits into 63 bits.
bool ParseSize(std::string_view text, uint64_t* size) {
  constexpr size_t kDigitsMax = 18;
  if (text.empty() || text.size() > kDigitsMax) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *size);
  return error == std::errc() && end == text.data() + text.size();
}

void AppendUtf8(uint32_t point, std::string* out) {
  if (point < 0x80) {
    *out += static_cast<char>(point);
    return;
  }
  const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  static constexpr unsigned char kLead[] = {0, 0xc0, 0xe0, 0xf0};
  *out += static_cast<char>(kLead[more] | point >> (6 * more));
  for (int k = more - 1; k >= 0; --k) *out += static_cast<char>(0x80 | (point >> (6 * k) & 0x3f));
}

// "\x{E4}"
void AppendCodePoint(uint32_t point, std::string* out) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string digits;
  do {
    digits.insert(digits.begin(), kHex[point & 15]);
    point >>= 4;
  } while (point != 0 || digits.size() < 2);
  *out += "\\x{";
  *out += digits;
  *out += '}';
}

struct Parameter {
  std::string_view whole;
  std::string_view value;
};

// A row per parameter; `apply` answers with an error or nothing.
struct MailParameter {
  std::string_view name;  // with its `=`, if it has a value
  std::optional<Reply> (*apply)(const Parameter&, const PathSyntax&, MailCommand*);
};
struct RcptParameter {
  std::string_view name;
  std::optional<Reply> (*apply)(const Parameter&, const PathSyntax&, RcptCommand*);
};

Reply Unsupported(const Parameter& parameter) {
  return Error(555, kBadArguments, "Unsupported option: " + std::string(parameter.whole));
}
Reply DsnDisabled() { return Error(501, kPolicy, "DSN support is disabled"); }

std::optional<Reply> ApplySize(const Parameter& parameter, const PathSyntax&, MailCommand* mail) {
  if (ParseSize(parameter.value, &mail->size_bytes)) return std::nullopt;
  const bool huge = !parameter.value.empty() &&
                    parameter.value.find_first_not_of("0123456789") == std::string_view::npos;
  if (huge) return Error(552, kTooBig, "Message size exceeds file system imposed limit");
  return Error(501, kBadArguments, "Bad message size syntax");
}

std::optional<Reply> ApplyBody(const Parameter& parameter, const PathSyntax&, MailCommand* mail) {
  if (SameWord(parameter.value, "8BITMIME")) return mail->body = Body::k8BitMime, std::nullopt;
  if (SameWord(parameter.value, "7BIT")) return mail->body = Body::k7Bit, std::nullopt;
  return Unsupported(parameter);
}

std::optional<Reply> ApplySmtpUtf8(const Parameter& parameter, const PathSyntax& syntax,
                                   MailCommand*) {
  // ParseMail has looked for it before it read the path.
  if (syntax.smtputf8) return std::nullopt;
  return Unsupported(parameter);
}

std::optional<Reply> ApplyRet(const Parameter& parameter, const PathSyntax& syntax,
                              MailCommand* mail) {
  if (!syntax.dsn) return DsnDisabled();
  for (std::string_view value : {"FULL", "HDRS"}) {
    if (!SameWord(parameter.value, value) || !mail->ret.empty()) continue;
    mail->ret = std::string(value);
    return std::nullopt;
  }
  return Error(501, kBadArguments, "Bad RET parameter syntax");
}

std::optional<Reply> ApplyEnvid(const Parameter& parameter, const PathSyntax& syntax,
                                MailCommand* mail) {
  if (!syntax.dsn) return DsnDisabled();
  auto envid = DecodeXtext(parameter.value);
  const bool good =
      envid && !envid->empty() && envid->size() <= kEnvidBytesMax && mail->envid.empty() &&
      std::all_of(envid->begin(), envid->end(), [](char c) { return c >= ' ' && c < 127; });
  if (!good) return Error(501, kBadArguments, "Bad ENVID parameter syntax");
  mail->envid = *std::move(envid);
  return std::nullopt;
}

std::optional<Reply> ApplyAuth(const Parameter& parameter, const PathSyntax& syntax,
                               MailCommand* mail) {
  // Without SASL Postfix takes it and does nothing with it.
  if (!syntax.auth) return std::nullopt;
  if (!mail->auth.empty()) return Error(503, kBadArguments, "Error: multiple AUTH= options");
  auto auth = DecodeXtext(parameter.value);
  if (!auth || auth->empty()) return Error(501, kBadArguments, "Error: bad AUTH= syntax");
  mail->auth = *std::move(auth);
  return std::nullopt;
}

std::optional<Reply> ApplyNotify(const Parameter& parameter, const PathSyntax& syntax,
                                 RcptCommand* rcpt) {
  if (!syntax.dsn) return DsnDisabled();
  struct Row {
    std::string_view name;
    Notify bit;
  };
  static constexpr Row kRows[] = {{"SUCCESS", kNotifySuccess},
                                  {"FAILURE", kNotifyFailure},
                                  {"DELAY", kNotifyDelay},
                                  {"NEVER", kNotifyNever}};
  int notify = 0;
  bool good = rcpt->notify == kNotifyDefault;
  for (std::string_view rest = parameter.value; good;) {
    const std::string_view word = rest.substr(0, rest.find(','));
    const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                   [&](const Row& r) { return SameWord(r.name, word); });
    good = row != std::end(kRows) && (notify & row->bit) == 0;
    if (good) notify |= row->bit;
    if (word.size() == rest.size()) break;
    rest.remove_prefix(word.size() + 1);
  }
  // RFC 3461, 4.1: NEVER stands alone.
  if (!good || ((notify & kNotifyNever) != 0 && notify != kNotifyNever))
    return Error(501, kBadArguments, "Error: Bad NOTIFY parameter syntax");
  rcpt->notify = notify;
  return std::nullopt;
}

std::optional<std::string> DecodeOrcptAddress(std::string_view type, std::string_view address) {
  return SameWord(type, "utf-8") ? DecodeUtf8Xtext(address) : DecodeXtext(address);
}

std::optional<Reply> ApplyOrcpt(const Parameter& parameter, const PathSyntax& syntax,
                                RcptCommand* rcpt) {
  if (!syntax.dsn) return DsnDisabled();
  const size_t semicolon = parameter.value.find(';');
  std::optional<std::string> address;
  if (semicolon != std::string_view::npos && semicolon > 0)
    address = DecodeOrcptAddress(parameter.value.substr(0, semicolon),
                                 parameter.value.substr(semicolon + 1));
  // The type goes out again as it came: an atom (RFC 3461, 4.2).
  const std::string_view type = parameter.value.substr(0, semicolon);
  const bool atom = std::all_of(type.begin(), type.end(), [](char c) {
    return c > ' ' && c < 127 &&
           std::string_view("()<>@,;:\\\"[]=+").find(c) == std::string_view::npos;
  });
  const bool good = atom && address && address->size() <= kOrcptBytesMax && rcpt->orcpt.empty() &&
                    std::none_of(address->begin(), address->end(), [](char c) {
                      return static_cast<unsigned char>(c) < ' ' || c == 127;
                    });
  if (!good) return Error(501, kBadArguments, "Error: Bad ORCPT parameter syntax");
  rcpt->orcpt = std::string(type) + ";" + *address;
  return std::nullopt;
}

// POSTFIX: the default is the administrator's, and not checked against the filter.
std::optional<Reply> ApplyVerp(const Parameter& parameter, const PathSyntax& syntax,
                               MailCommand* mail) {
  if (syntax.verp == nullptr) return Unsupported(parameter);
  mail->verp = syntax.verp->default_delimiters;
  return std::nullopt;
}

std::optional<Reply> ApplyVerpDelimiters(const Parameter& parameter, const PathSyntax& syntax,
                                         MailCommand* mail) {
  if (syntax.verp == nullptr) return Unsupported(parameter);
  if (parameter.value.size() != kVerpDelimiters ||
      parameter.value.find_first_not_of(syntax.verp->filter) != std::string_view::npos) {
    return Error(501, kBadArguments,
                 "Error: XVERP needs two characters from " + syntax.verp->filter);
  }
  mail->verp = std::string(parameter.value);
  return std::nullopt;
}

constexpr MailParameter kMailParameters[] = {
    {"SIZE=", ApplySize},        {"BODY=", ApplyBody},
    {"SMTPUTF8", ApplySmtpUtf8}, {"RET=", ApplyRet},
    {"ENVID=", ApplyEnvid},      {"AUTH=", ApplyAuth},
    {"XVERP", ApplyVerp},        {"XVERP=", ApplyVerpDelimiters},
};
constexpr RcptParameter kRcptParameters[] = {{"NOTIFY=", ApplyNotify}, {"ORCPT=", ApplyOrcpt}};

template <typename Rows, typename Target>
std::optional<Reply> ApplyParameters(std::string_view rest, const Rows& rows,
                                     const PathSyntax& syntax, Target* target) {
  for (rest = Trim(rest); !rest.empty();) {
    Parameter parameter{TakeWord(&rest), {}};
    const auto* row = std::find_if(std::begin(rows), std::end(rows), [&](const auto& candidate) {
      const bool has_value = candidate.name.back() == '=';
      return SameWord(
          has_value ? parameter.whole.substr(0, candidate.name.size()) : parameter.whole,
          candidate.name);
    });
    if (row == std::end(rows)) return Unsupported(parameter);
    parameter.value = parameter.whole.substr(row->name.size());
    if (auto error = row->apply(parameter, syntax, target)) return error;
  }
  return std::nullopt;
}

// SMTPUTF8 says how the path before it must be read.
bool SaysSmtpUtf8(std::string_view arguments) {
  while (!arguments.empty()) {
    if (SameWord(TakeWord(&arguments), "SMTPUTF8")) return true;
  }
  return false;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

Command ParseCommand(std::string_view line) {
  Command command;
  command.name = TakeWord(&line);
  command.arguments = line;
  for (const VerbRow& row : kVerbs) {
    if (SameWord(command.name, row.name)) command.verb = row.verb;
  }
  return command;
}

std::string_view VerbName(Verb verb) {
  for (const VerbRow& row : kVerbs) {
    if (row.verb == verb) return row.name;
  }
  return "";
}

std::optional<Reply> ParseMail(std::string_view arguments, const PathSyntax& syntax,
                               MailCommand* mail) {
  *mail = {};
  std::string_view rest = arguments;
  if (!TakeKeyword("FROM", &rest)) return Error(501, kBadArguments, "Syntax: MAIL FROM:<address>");
  mail->smtputf8 = syntax.smtputf8 && SaysSmtpUtf8(rest);
  auto path =
      TakePath(&rest, syntax, mail->smtputf8, Error(501, kBadSender, "Bad sender address syntax"));
  if (path.error) return path.error;
  mail->sender = std::move(path.address);
  mail->sender_text = std::move(path.text);
  return ApplyParameters(rest, kMailParameters, syntax, mail);
}

std::optional<Reply> RefuseVerpOfNullSender(const MailCommand& mail) {
  if (mail.verp.empty() || !mail.sender.IsNull()) return std::nullopt;
  return Error(503, kBadArguments, "Error: XVERP requires non-null sender");
}

std::optional<Reply> ParseRcpt(std::string_view arguments, const PathSyntax& syntax,
                               bool mail_smtputf8, RcptCommand* rcpt) {
  *rcpt = {};
  std::string_view rest = arguments;
  if (!TakeKeyword("TO", &rest)) return Error(501, kBadArguments, "Syntax: RCPT TO:<address>");
  const Reply bad_syntax = Error(501, kBadRecipient, "Bad recipient address syntax");
  auto path = TakePath(&rest, syntax, mail_smtputf8, bad_syntax);
  if (path.error) return path.error;
  if (path.address.IsNull()) return bad_syntax;
  rcpt->recipient = std::move(path.address);
  rcpt->recipient_text = std::move(path.text);
  return ApplyParameters(rest, kRcptParameters, syntax, rcpt);
}

std::optional<Reply> ParseBdat(std::string_view arguments, BdatCommand* bdat) {
  *bdat = {};
  std::string_view rest = arguments;
  const bool size = ParseSize(TakeWord(&rest), &bdat->size_bytes);
  bdat->last = SameWord(rest, "LAST");
  if (size && (rest.empty() || bdat->last)) return std::nullopt;
  // The chunk behind it cannot be skipped without its size: 521 makes ingress hang up.
  return Error(521, kBadArguments, "Syntax: BDAT count [LAST]");
}

std::optional<std::string> DecodeXtext(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      if (text.size() - i < 3 || HexValue(text[i + 1]) < 0 || HexValue(text[i + 2]) < 0)
        return std::nullopt;
      decoded += static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]));
      i += 2;
    } else if (static_cast<unsigned char>(text[i]) <= ' ' || text[i] == '=' || text[i] == 127) {
      return std::nullopt;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::optional<std::string> DecodeUtf8Xtext(std::string_view text) {
  constexpr std::string_view kOpen = "\\x{";
  constexpr size_t kDigitsMax = 6;
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte <= ' ' || byte == 127 || byte == '=' || byte == '+') return std::nullopt;
    if (byte != '\\') {
      decoded += text[i];
      continue;
    }
    const size_t close = text.find('}', i);
    if (!text.substr(i).starts_with(kOpen) || close == std::string_view::npos) return std::nullopt;
    const std::string_view digits = text.substr(i + kOpen.size(), close - i - kOpen.size());
    uint32_t point = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), point, 16);
    if (error != std::errc() || end != digits.data() + digits.size() ||
        digits.size() > kDigitsMax || point == 0) {
      return std::nullopt;
    }
    AppendUtf8(point, &decoded);
    i = close;
  }
  if (!mail::IsUtf8(decoded)) return std::nullopt;
  return decoded;
}

std::string EncodeUtf8Xtext(std::string_view text) {
  std::string encoded;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    if (byte > ' ' && byte < 127 && byte != '+' && byte != '=' && byte != '\\') {
      encoded += text[i++];
      continue;
    }
    uint32_t point = length == 1 ? byte : byte & (0x7fU >> length);
    for (size_t k = 1; k < length && i + k < text.size(); ++k) {
      point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
    }
    AppendCodePoint(point, &encoded);
    i += length;
  }
  return encoded;
}

std::string EncodeXtext(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > ' ' && byte < 127 && c != '+' && c != '=') {
      encoded += c;
    } else {
      encoded += {'+', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

}  // namespace postfleet::smtp
