// cidr: tables (cidr_table(5)): the first pattern that holds the address gives the value.
#include "libs/config/ip_network.h"
#include "libs/tables/rule_table.h"

namespace postfleet::tables {
namespace {

class CidrPattern {
 public:
  using Key = config::IpAddress;

  static std::optional<Key> KeyOf(std::string_view key) { return Key::Parse(key); }

  static absl::StatusOr<CidrPattern> Parse(std::string_view* text) {
    CidrPattern pattern;
    if (text->starts_with('!')) {
      pattern.negated_ = true;
      text->remove_prefix(1);
    }
    const std::string_view word = text->substr(0, text->find_first_of(" \t\r\n"));
    text->remove_prefix(word.size());
    absl::StatusOr<config::IpNetwork> network = config::IpNetwork::Parse(word);
    if (!network.ok()) return network.status();
    pattern.network_ = *network;
    return pattern;
  }

  absl::Status TakeValue(std::string_view value) {
    value_ = value;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Matches(const Key& address) const {
    return network_.Contains(address) != negated_;
  }
  std::string Value() const { return value_; }

 private:
  bool negated_ = false;
  config::IpNetwork network_{config::IpAddress(), 0};
  std::string value_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeCidrTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return RuleTable<CidrPattern>::Make(std::move(name), std::move(argument), options);
}

}  // namespace postfleet::tables
