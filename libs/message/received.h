// Received fields in Postfix 3.9's words (RFC 5321, 4.4), and mail dates (RFC 5322, 3.3). No clock:
// time comes in.
//
// All results are whole header fields with LF line ends and tab continuations, the last LF
// included; ready to be prepended.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace postfleet::message {

// A point in time and how this host writes it.
struct MailTime {
  int64_t seconds = 0;            // since the epoch
  int utc_offset_seconds = 0;     // east is positive
  std::string_view zone = "UTC";  // printed in parentheses; "" = no parentheses
};

// "Sat, 05 Dec 2026 10:11:12 +0000 (UTC)"
std::string FormatMailDate(const MailTime& time);

// "<QUEUEID@myhostname>": what cleanup and the notices' writer give to a message that has no
// Message-Id. Postfix's form for long queue ids, which repeat never; short ones get a time in
// front.
std::string FormatMessageId(std::string_view queue_id, std::string_view myhostname);

struct SmtpReceived {
  std::string_view helo_name;  // as the client said; "" (none said) is written as Postfix does: the
                               // client's name
  std::string_view client_name;  // "unknown" if there is none
  std::string_view
      client_address;  // "192.0.2.1", "IPv6:2001:db8::1" or "2001:db8::1" (the prefix is added)
  // Complete extra lines inside, each without tab and LF: "(using TLSv1.3 with cipher …)",
  // "(Authenticated sender: …)".
  std::string_view extra_lines;  // LF between lines
  std::string_view myhostname;
  std::string_view mail_name = "Postfix";
  std::string_view protocol;  // SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTP…
  std::string_view queue_id;
  // The only recipient as given in RCPT, without brackets; "" when there are several.
  std::string_view recipient;
  MailTime time;
};
// Received: from HELO (NAME [ADDR])
//	by HOST (Postfix) with ESMTP id ID
//	for <RCPT>; DATE
// or, without a recipient, "…with ESMTP id ID;" and the date on the next line. Control characters
// in client data become `?`, so a HELO cannot start a header.
std::string FormatSmtpReceived(const SmtpReceived& received);

// Received: by HOST (Postfix)
//	id ID; DATE
// for notices and forwards; with `user_id` >= 0 pickup's form: "by HOST (Postfix, from userid N)".
std::string FormatLocalReceived(std::string_view myhostname, std::string_view mail_name,
                                std::string_view queue_id, int64_t user_id, const MailTime& time);

// "SMTP", "ESMTP", "ESMTPSA", "UTF8SMTPS"… by what the session did (RFC 3848, RFC 6531 4.3).
std::string_view ProtocolName(bool esmtp, bool tls, bool authenticated, bool smtputf8);

}  // namespace postfleet::message
