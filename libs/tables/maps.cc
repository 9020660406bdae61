#include "libs/tables/maps.h"

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"

namespace postfleet::tables {
namespace {

using Found = absl::StatusOr<std::optional<std::string>>;

bool Decided(const Found& found) { return !found.ok() || found->has_value(); }

// mailer-daemon and the like keep their '-', whatever the delimiter is (Postfix's split_addr).
bool IsIndivisible(std::string_view localpart, std::string_view delimiter) {
  std::string name = absl::AsciiStrToLower(absl::string_view(localpart.data(), localpart.size()));
  if (name == "mailer-daemon" || name == "double-bounce") return true;
  if (delimiter.find('-') == delimiter.npos) return false;
  return name.starts_with("owner-") || name.ends_with("-request");
}

}  // namespace

std::optional<std::string_view> WithoutExtension(std::string_view localpart,
                                                 std::string_view recipient_delimiter) {
  if (recipient_delimiter.empty() || localpart.empty()) return std::nullopt;
  if (IsIndivisible(localpart, recipient_delimiter)) return std::nullopt;
  size_t at = localpart.find_first_of(recipient_delimiter, 1);
  if (at == localpart.npos) return std::nullopt;
  return localpart.substr(0, at);
}

absl::StatusOr<Maps> Maps::Open(const std::vector<std::string>& items, const OpenOptions& options) {
  Maps maps;
  for (const std::string& item : items) {
    absl::StatusOr<std::unique_ptr<Table>> table = OpenTable(item, options);
    if (!table.ok()) return table.status();
    maps.tables_.push_back(*std::move(table));
  }
  return maps;
}

Found Maps::Lookup(std::string_view key) {
  for (const std::unique_ptr<Table>& table : tables_) {
    Found found = table->Lookup(key);
    if (Decided(found)) return found;
  }
  return std::nullopt;
}

Found Maps::LookupPartial(std::string_view key) {
  for (const std::unique_ptr<Table>& table : tables_) {
    if (!table->has_fixed_keys()) continue;
    Found found = table->Lookup(key);
    if (Decided(found)) return found;
  }
  return std::nullopt;
}

Found Maps::FindAddress(std::string_view address, const AddressForms& forms) {
  Found found = Lookup(address);
  if (Decided(found)) return found;
  size_t at = address.rfind('@');
  std::string_view user = address.substr(0, at);
  std::string_view at_domain = at == address.npos ? std::string_view() : address.substr(at);
  std::optional<std::string_view> plain = WithoutExtension(user, forms.recipient_delimiter);
  if (plain) found = LookupPartial(Concat(*plain, at_domain));
  if (at_domain.empty() || Decided(found)) return found;
  if (forms.bare_user) found = LookupPartial(user);
  if (!Decided(found) && forms.bare_user && plain) found = LookupPartial(*plain);
  if (!Decided(found) && forms.at_domain) found = LookupPartial(at_domain);
  return found;
}

}  // namespace postfleet::tables
