// What stands behind every 4xx and 5xx reply (smtpd_reject_footer, smtpd_reject_footer_maps;
// postconf(5)).
//
// A template begins on a line of its own, or behind the reply's text where it begins with `\c`;
// `\n` in it begins another line. $client_address, $client_name, $client_port, $localtime,
// $server_name and $sender stand for facts of the session, also as ${name} and $(name); of their
// bytes those outside smtpd_expansion_filter become `_`. Another $name empties the footer, and is
// warned of. In a regexp or pcre table a name is written $$name.
//
// Not thread-safe: tables are asked, and may read files.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/tables/maps.h"

namespace postfleet::ingress {

struct FooterFacts {
  std::string_view client_address;
  std::string_view client_name;
  std::string_view client_port;
  std::string_view localtime;  // "Nov 23 08:53:02"
  std::string_view server_name;
  std::string_view sender;
};

class RejectFooter {
 public:
  static absl::StatusOr<RejectFooter> Open(const config::Config& config);

  bool empty() const { return footer_.empty() && maps_.empty(); }
  // `reply` is one line without its end, "554 5.7.1 text"; out comes what goes behind it, lines
  // with their codes and CRLF, `reply` being a "554-5.7.1 text" then unless only its text goes on.
  // Gives the whole reply. Errors: a table that could not be asked, a name that is none.
  absl::StatusOr<std::string> Complete(std::string_view reply, const FooterFacts& facts);

 private:
  absl::StatusOr<std::string> Expand(std::string_view text, const FooterFacts& facts) const;

  std::string footer_;
  tables::Maps maps_;
  std::string allowed_;
};

}  // namespace postfleet::ingress
