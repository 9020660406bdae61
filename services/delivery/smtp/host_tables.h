// What tables say about the servers that the client talks to: which EHLO keywords of one address
// are not to be believed (smtp_discard_ehlo_keyword_address_maps), what it is spared if it is a PIX
// firewall (smtp_pix_workaround_maps), and what lines of replies are to be read as
// (smtp_reply_filter); and the lmtp_* ones. Without an entry, and without tables, the parameters
// without "maps" in their name have it.
//
// Errors: Unavailable, where a table cannot be asked; but a table of workarounds that cannot be is
// warned of and taken for empty, since most servers need none. Lookups block.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/smtp/reply.h"
#include "libs/tables/maps.h"
#include "services/delivery/smtp/core/ehlo_keywords.h"

namespace postfleet::delivery::smtp {

struct HostTablesOptions {
  std::string discarded_keywords;
  std::vector<std::string> discarded_keyword_maps;
  std::string pix_workarounds = "disable_esmtp,delay_dotcrlf";
  std::vector<std::string> pix_workaround_maps;
  std::vector<std::string> reply_filter;
  std::string default_table_type = "hash";
};

class HostTables {
 public:
  // Errors: what is wrong in the tables' specification. `program` is for the log.
  static absl::StatusOr<std::unique_ptr<HostTables>> Open(const HostTablesOptions& options,
                                                          std::string program);

  // `address`: "192.0.2.1".
  absl::StatusOr<EhloKeywords> DiscardedKeywords(const std::string& address);
  PixWorkarounds WorkaroundsFor(const std::string& address);
  // nullptr: there is no filter. Refers to this; `peer` is for the log.
  postfleet::smtp::ReplyParser::LineFilter ReplyFilter(std::string peer);

 private:
  HostTables() = default;
  bool Replace(const std::string& peer, std::string* line);

  std::string program_;
  std::string discarded_keywords_;
  std::string pix_workarounds_;
  tables::Maps discarded_keyword_maps_;
  tables::Maps pix_workaround_maps_;
  tables::Maps reply_filter_;
};

}  // namespace postfleet::delivery::smtp
