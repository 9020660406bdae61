// What a client says: verbs and the arguments of MAIL and RCPT (RFC 5321, 4.1; RFC 1870 SIZE, 6152
// BODY, 3461 DSN, 4954 AUTH, 6531 SMTPUTF8, 3030 BDAT; POSTFIX VERP_README XVERP). Pure; the
// session's order of commands and its policy are ingress's.
//
// Input is a line without its end (line_reader.h). Errors are the Reply to send, in Postfix's
// words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/mail/smtp_path.h"
#include "libs/smtp/reply.h"

namespace postfleet::smtp {

enum class Verb {
  kUnknown,
  kHelo,
  kEhlo,
  kLhlo,
  kMail,
  kRcpt,
  kData,
  kBdat,
  kRset,
  kNoop,
  kVrfy,
  kExpn,
  kEtrn,
  kHelp,
  kQuit,
  kAuth,
  kStarttls,
  kXclient,
  kXforward,
};
inline constexpr int kVerbCount = static_cast<int>(Verb::kXforward) + 1;

struct Command {
  Verb verb = Verb::kUnknown;
  std::string_view name;       // the word as the client wrote it
  std::string_view arguments;  // without blanks around
};

// Cannot fail: an unknown word is kUnknown, an empty line has an empty name. A word is what comes
// before the first blank.
Command ParseCommand(std::string_view line);
// "MAIL", in capitals; "" for kUnknown.
std::string_view VerbName(Verb verb);

inline constexpr size_t kVerpDelimiters = 2;

// MAIL's XVERP: which characters a client may put around a recipient in its sender.
struct VerpSyntax {
  std::string default_delimiters = "+=";  // default_verp_delimiters
  std::string filter = "-=+";             // verp_delimiter_filter

  friend bool operator==(const VerpSyntax&, const VerpSyntax&) = default;
};

struct PathSyntax {
  mail::PathOptions path;  // allow_non_ascii is set by MAIL's own SMTPUTF8 parameter as well
  // What EHLO offered. A parameter of a service that is off is answered as Postfix does.
  bool dsn = true;               // RET, ENVID, NOTIFY, ORCPT
  bool smtputf8 = true;          // SMTPUTF8
  bool strict_smtputf8 = false;  // a local part in UTF-8 needs it, too
  // allow_min_user: a local part may begin with `-`, which programs take for an option.
  bool allow_min_user = true;
  bool auth = false;  // AUTH=; off: accepted without effect, as in Postfix
  // Of a client that may say XVERP; null: it is an option as unknown as any. Outlives the call.
  const VerpSyntax* verp = nullptr;
};

enum class Body { kUnspecified, k7Bit, k8BitMime };

struct MailCommand {
  mail::Address sender;
  std::string sender_text;  // as given, brackets taken off, not unquoted: for Received-like records
                            // and logs
  uint64_t size_bytes = 0;  // 0: not given
  Body body = Body::kUnspecified;
  bool smtputf8 = false;
  std::string ret;    // "", "FULL", "HDRS"
  std::string envid;  // decoded from xtext
  std::string auth;   // decoded from xtext; "" not given, "<>" for unknown
  std::string verp;   // "+="; "": no XVERP
};

// As mail.v1.NotifyFlag.
enum Notify : int {
  kNotifyDefault = 0,
  kNotifyNever = 1,
  kNotifySuccess = 2,
  kNotifyFailure = 4,
  kNotifyDelay = 8
};

struct RcptCommand {
  mail::Address recipient;
  std::string recipient_text;   // as given, brackets taken off: for `for <RCPT>` in Received
  int notify = kNotifyDefault;  // bits of Notify
  std::string orcpt;            // "rfc822;user@example.com", decoded from xtext
};

// `arguments` of MAIL: "FROM:<a@b> SIZE=1". nullopt: good; otherwise the reply:
//   501 5.5.4 Syntax: MAIL FROM:<address>      501 5.1.7 Bad sender address syntax
//   501 5.5.4 Bad message size syntax          555 5.5.4 Unsupported option: X
//   553 5.6.7 Must declare SMTPUTF8 to send unicode address (strict_smtputf8), and those of RET,
//   ENVID, AUTH
//   501 5.5.4 Error: XVERP needs two characters from -=+
std::optional<Reply> ParseMail(std::string_view arguments, const PathSyntax& syntax,
                               MailCommand* mail);
// To be asked once the size is found good, as Postfix does: a null sender has no room for a
// recipient. 503 5.5.4 Error: XVERP requires non-null sender.
std::optional<Reply> RefuseVerpOfNullSender(const MailCommand& mail);
// `arguments` of RCPT: "TO:<a@b>". `<>` is an error (501 5.1.3 Bad recipient address syntax).
// `mail_smtputf8`: MAIL said SMTPUTF8.
std::optional<Reply> ParseRcpt(std::string_view arguments, const PathSyntax& syntax,
                               bool mail_smtputf8, RcptCommand* rcpt);

struct BdatCommand {
  uint64_t size_bytes = 0;
  bool last = false;
};
std::optional<Reply> ParseBdat(std::string_view arguments, BdatCommand* bdat);

// xtext (RFC 3461, 4): "+XX" for what is not printable, `+`, `=`. nullopt: not xtext.
std::optional<std::string> DecodeXtext(std::string_view text);
std::string EncodeXtext(std::string_view text);
// RFC 6533, 3: the addresses of type utf-8; "\x{E4}" for U+00E4, or UTF-8 as it is. nullopt: no
// code point, or not UTF-8. Encoded is ASCII alone; what is not UTF-8 must not come in.
std::optional<std::string> DecodeUtf8Xtext(std::string_view text);
std::string EncodeUtf8Xtext(std::string_view text);

}  // namespace postfleet::smtp
