// local_header_rewrite_clients: the clients whose headers are completed as if the mail were written
// here (postconf(5)). The first item that matches decides:
//
//   permit_inet_interfaces     the client's address is one of ours (inet_interfaces)
//   permit_mynetworks          the client is in mynetworks
//   permit_sasl_authenticated, permit_tls_clientcerts, permit_tls_all_clientcerts
//                              never: there is neither SASL nor TLS yet
//   check_address_map type:table, or type:table alone
//                              the table has the client's address; its value does not matter
//
// Errors of Open: an item that is none of these, a table that cannot be. Tables are asked when mail
// comes, and may read files. Not thread-safe.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/config/ip_network.h"
#include "libs/tables/table.h"
#include "services/ingress/core/restrictions.h"

namespace postfleet::ingress {

class HeaderRewriteClients {
 public:
  static absl::StatusOr<HeaderRewriteClients> Open(const config::Config& config);

  // Unavailable: a table, or mynetworks, could not be asked.
  absl::StatusOr<bool> AreLocal(std::string_view client_address, Membership mynetworks);

 private:
  struct Item {
    enum class Kind { kInetInterfaces, kMynetworks, kTable } kind;
    std::unique_ptr<tables::Table> table;
  };
  std::vector<Item> items_;
  std::vector<config::IpAddress> own_addresses_;
};

}  // namespace postfleet::ingress
