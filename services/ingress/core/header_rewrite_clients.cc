#include "services/ingress/core/header_rewrite_clients.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::ingress {
namespace {

constexpr std::string_view kParameter = "local_header_rewrite_clients";

bool NeverMatches(std::string_view item) {
  return item == "permit_sasl_authenticated" || item == "permit_tls_clientcerts" ||
         item == "permit_tls_all_clientcerts";
}

}  // namespace

absl::StatusOr<HeaderRewriteClients> HeaderRewriteClients::Open(const config::Config& config) {
  HeaderRewriteClients clients;
  const tables::OpenOptions options{.default_type = config.GetString("default_database_type")};
  bool table_follows = false;
  for (const std::string& item : config.GetList(kParameter)) {
    const std::string name = mail::LowerCasedAscii(item);
    if (std::exchange(table_follows, false) || tables::LooksLikeTable(item)) {
      absl::StatusOr<std::unique_ptr<tables::Table>> table = tables::OpenTable(item, options);
      if (!table.ok()) return table.status();
      clients.items_.push_back({Item::Kind::kTable, *std::move(table)});
    } else if (name == "check_address_map") {
      table_follows = true;
    } else if (name == "permit_inet_interfaces") {
      clients.items_.push_back({Item::Kind::kInetInterfaces, nullptr});
    } else if (name == "permit_mynetworks") {
      clients.items_.push_back({Item::Kind::kMynetworks, nullptr});
    } else if (!NeverMatches(name)) {
      return absl::InvalidArgumentError(
          Concat("parameter ", kParameter, ": unknown or unsupported request: ", item));
    }
  }
  if (table_follows) {
    return absl::InvalidArgumentError(
        Concat("parameter ", kParameter, ": check_address_map needs a type:table behind it"));
  }
  for (const config::InterfaceAddress& own : config.own_addresses()) {
    clients.own_addresses_.push_back(own.address);
  }
  return clients;
}

absl::StatusOr<bool> HeaderRewriteClients::AreLocal(std::string_view client_address,
                                                    Membership mynetworks) {
  for (Item& item : items_) {
    if (item.kind == Item::Kind::kInetInterfaces) {
      const std::optional<config::IpAddress> address = config::IpAddress::Parse(client_address);
      if (address && std::find(own_addresses_.begin(), own_addresses_.end(), *address) !=
                         own_addresses_.end()) {
        return true;
      }
    } else if (item.kind == Item::Kind::kMynetworks) {
      if (mynetworks == Membership::kYes) return true;
      if (mynetworks == Membership::kUnknown) {
        return absl::UnavailableError("mynetworks: table lookup problem");
      }
    } else {
      const auto found = item.table->Lookup(client_address);
      if (!found.ok()) return found.status();
      if (found->has_value()) return true;
    }
  }
  return false;
}

}  // namespace postfleet::ingress
