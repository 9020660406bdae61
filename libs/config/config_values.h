// The layers of a configuration's values: -o of a service over main.cf over defaults of this
// machine over the table's. Internal to libs/config; everybody else uses Config.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/diagnostics.h"
#include "libs/config/interfaces.h"
#include "libs/config/main_cf.h"
#include "libs/config/master_cf.h"

namespace postfleet::config {

using Settings = std::map<std::string, std::string, std::less<>>;

struct ConfigValues {
  std::string directory;
  std::shared_ptr<const MainCf> main_cf;
  std::shared_ptr<const MasterCf> master_cf;
  Settings overrides;
  int service_line = 0;  // in master.cf, of the service whose overrides they are
  Settings set;
  Settings computed;
  std::set<std::string, std::less<>> left_out;  // of an unchecked load: set, but badly
  Settings read_from_file;                      // myorigin, where it is a path
  std::vector<InterfaceAddress> own_addresses;  // without link-local ones

  // Unexpanded; nullopt if nobody defines the name.
  std::optional<std::string_view> Lookup(std::string_view name) const;
  // The same, also where an unchecked load left a bad value out.
  std::optional<std::string_view> AsSet(std::string_view name) const;
  std::optional<std::string_view> Default(std::string_view name) const;
  absl::StatusOr<std::string> Expand(std::string_view text) const;
  // Expanded; errors say which parameter and where it is set.
  absl::StatusOr<std::string> Value(std::string_view name) const;
  // A time without a unit has the unit of the parameter's default ("0h" -> h), as in Postfix.
  char DefaultUnit(std::string_view name) const;
  // " (/etc/postfix/main.cf, line 3)", or nothing for a default; of an override also the service.
  std::string Where(std::string_view name) const;

  // $service_name, $service_type and the service's -o.
  ConfigValues WithOverrides(const MasterService& service) const;
};

// Fills `computed` and `own_addresses`: myhostname, mydomain, mynetworks, what the program knows of
// itself.
absl::Status ComputeDefaults(const HostFacts& facts, ConfigValues& values);

// Values of all honoured parameters are of their type, in main.cf and in each service's -o;
// restrictions are known and decide relaying. Warns of what is set and not supported or not used.
absl::Status CheckConfig(const ConfigValues& values, Diagnostics& diagnostics);
// Fills `left_out`, then computes the defaults as far as the machine's facts allow. Warns of what
// is wanted and bad (everything bad if `wanted` is empty).
void LeaveOutBadValues(ConfigValues& values, const HostFacts& facts,
                       std::initializer_list<std::string_view> wanted, Diagnostics& diagnostics);
// The honoured parameters alone, without warnings.
absl::Status CheckValues(const ConfigValues& values);

}  // namespace postfleet::config
