// The configuration of one Postfleet instance: main.cf and master.cf of a directory, every value
// checked.
//
//   Diagnostics diagnostics;
//   // The status is the text after "fatal: ".
//   absl::StatusOr<Config> config = Config::Load("/etc/postfix", diagnostics);
//   config->GetTime("smtpd_timeout");
//   absl::StatusOr<Config> port25 = config->WithOverrides(*service);  // that service's -o
//
// Load checks every honoured parameter by its type, so getters return plain values. A getter for a
// name that is not in the table, or of another type, is our own bug and crashes.
// <transport>_destination_concurrency_limit and its kin work for any transport name. Getters expand
// and parse each time: read at start and keep the values. Copying is cheap (shared, immutable).
// Thread-safe.
//
// Warnings (diagnostics): parameters that are not supported or only in part, overrides that nobody
// reads, unused or misspelled names, what the readers of both files warn of. Errors: "open
// DIR/main.cf: No such file or directory"; "DIR/main.cf, line N: ..."; "bad boolean configuration:
// NAME = VALUE"; "bad numerical configuration: ..."; "parameter NAME: bad time value or unit: ...";
// "invalid NAME parameter value 0 < 1"; "parameter NAME = VALUE asks that ..." for a protection
// that is not there (parameters_protective.inc); "parameter NAME: unsupported dictionary type:
// ...".
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/config/diagnostics.h"
#include "libs/config/interfaces.h"
#include "libs/config/main_cf.h"
#include "libs/config/master_cf.h"

namespace postfleet::config {

struct ConfigValues;

class Config {
 public:
  // Reads DIR/main.cf and DIR/master.cf (a missing master.cf gives the stock services, with a
  // warning) and the machine's facts.
  static absl::StatusOr<Config> Load(const std::string& directory, Diagnostics& diagnostics);
  // From text, for tests and tools; reads no file.
  static absl::StatusOr<Config> FromText(std::string_view main_cf, std::string_view master_cf,
                                         const HostFacts& facts, Diagnostics& diagnostics,
                                         std::string directory = "/etc/postfix");

  // For administrative commands, which must work whatever else main.cf holds: nothing is checked
  // but what is asked for. A bad value falls back to the parameter's default, a bad line of main.cf
  // is skipped, a bad master.cf gives the stock services. Warns of bad lines, and of bad values of
  // the parameters in `wanted` (all of them if it is empty). Every getter works and gives a value
  // of its type; FindRaw still gives what the file says. Errors: a main.cf that cannot be read.
  static absl::StatusOr<Config> LoadUnchecked(const std::string& directory,
                                              std::initializer_list<std::string_view> wanted,
                                              Diagnostics& diagnostics);
  static Config FromTextUnchecked(std::string_view main_cf, std::string_view master_cf,
                                  const HostFacts& facts,
                                  std::initializer_list<std::string_view> wanted,
                                  Diagnostics& diagnostics, std::string directory = "/etc/postfix");

  // This configuration with the service's -o values; $service_name and $service_type are the
  // service's.
  absl::StatusOr<Config> WithOverrides(const MasterService& service) const;

  std::string GetString(std::string_view name) const;
  bool GetBool(std::string_view name) const;
  int64_t GetInt(std::string_view name) const;
  int64_t GetSize(std::string_view name) const;  // bytes
  absl::Duration GetTime(std::string_view name) const;
  std::vector<std::string> GetList(std::string_view name) const;

  // For postconf: any name, also user-defined ones. nullopt: not defined anywhere.
  std::optional<std::string> FindRaw(
      std::string_view name) const;  // as set, or its default; not expanded
  absl::StatusOr<std::string> FindExpanded(
      std::string_view name) const;         // NotFound for an unknown name
  bool IsSet(std::string_view name) const;  // in main.cf or by -o
  // Any text with $names of this configuration (smtpd_banner pieces, -o values).
  absl::StatusOr<std::string> Expand(std::string_view text) const;

  const std::string& directory() const;
  const MainCf& main_cf() const;
  const MasterCf& master_cf() const;
  // Our own addresses by inet_interfaces and inet_protocols; with proxy_interfaces, the
  // domain-literals that are local.
  const std::vector<InterfaceAddress>& own_addresses() const;

 private:
  explicit Config(std::shared_ptr<const ConfigValues> values);
  std::shared_ptr<const ConfigValues> values_;
};

}  // namespace postfleet::config
