#include "libs/config/config.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "libs/base/concat.h"
#include "libs/config/config_values.h"
#include "libs/config/file_text.h"
#include "libs/config/parameters.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

// Our own mistake: a name that the table does not have, or of another type. Load has checked the
// values themselves.
[[noreturn]] void Panic(std::string_view name, std::string_view what) {
  std::string line = Concat("panic: config: ", name, ": ", what, '\n');
  fputs(line.c_str(), stderr);
  abort();
}

template <typename Value>
Value Checked(absl::StatusOr<Value> value, std::string_view name) {
  if (!value.ok()) Panic(name, value.status().ToString());
  return *std::move(value);
}

void CheckKnown(std::string_view name) {
  if (FindParameter(name) == nullptr && !FindTransportParameter(name)) {
    Panic(name, "no row in the parameter table");
  }
}

}  // namespace

Config::Config(std::shared_ptr<const ConfigValues> values) : values_(std::move(values)) {}

absl::StatusOr<Config> Config::Load(const std::string& directory, Diagnostics& diagnostics) {
  absl::StatusOr<std::string> main_cf = ReadFileText(Concat(directory, "/main.cf"));
  if (!main_cf.ok()) return main_cf.status();
  absl::StatusOr<std::string> master_cf = ReadFileText(Concat(directory, "/master.cf"));
  if (absl::IsNotFound(master_cf.status())) {
    diagnostics.Warn(Concat(directory, "/master.cf: no such file; no port is served"));
    master_cf = std::string();
  }
  if (!master_cf.ok()) return master_cf.status();
  absl::StatusOr<HostFacts> facts = ReadHostFacts();
  if (!facts.ok()) return facts.status();
  return FromText(*main_cf, *master_cf, *facts, diagnostics, directory);
}

absl::StatusOr<Config> Config::FromText(std::string_view main_cf, std::string_view master_cf,
                                        const HostFacts& facts, Diagnostics& diagnostics,
                                        std::string directory) {
  absl::StatusOr<MainCf> main_file =
      ParseMainCf(main_cf, Concat(directory, "/main.cf"), diagnostics);
  if (!main_file.ok()) return main_file.status();
  absl::StatusOr<MasterCf> master_file =
      ParseMasterCf(master_cf, Concat(directory, "/master.cf"), diagnostics);
  if (!master_file.ok()) return master_file.status();

  auto values = std::make_shared<ConfigValues>();
  values->directory = std::move(directory);
  for (const MainCfEntry& entry : main_file->entries) values->set[entry.name] = entry.value;
  values->main_cf = std::make_shared<const MainCf>(*std::move(main_file));
  values->master_cf = std::make_shared<const MasterCf>(*std::move(master_file));
  absl::Status status = ComputeDefaults(facts, *values);
  if (status.ok()) status = CheckConfig(*values, diagnostics);
  if (!status.ok()) return status;
  return Config(std::move(values));
}

absl::StatusOr<Config> Config::LoadUnchecked(const std::string& directory,
                                             std::initializer_list<std::string_view> wanted,
                                             Diagnostics& diagnostics) {
  absl::StatusOr<std::string> main_cf = ReadFileText(Concat(directory, "/main.cf"));
  if (!main_cf.ok()) return main_cf.status();
  absl::StatusOr<std::string> master_cf = ReadFileText(Concat(directory, "/master.cf"));
  absl::StatusOr<HostFacts> facts = ReadHostFacts();
  return FromTextUnchecked(*main_cf, master_cf.ok() ? *master_cf : "",
                           facts.ok() ? *facts : HostFacts(), wanted, diagnostics, directory);
}

Config Config::FromTextUnchecked(std::string_view main_cf, std::string_view master_cf,
                                 const HostFacts& facts,
                                 std::initializer_list<std::string_view> wanted,
                                 Diagnostics& diagnostics, std::string directory) {
  const std::string master_path = Concat(directory, "/master.cf");
  Diagnostics of_master;  // who asks for a queue's folder need not hear of services
  absl::StatusOr<MasterCf> master_file = ParseMasterCf(master_cf, master_path, of_master);
  if (!master_file.ok()) {
    diagnostics.Warn(std::string(master_file.status().message()));
    master_file = ParseMasterCf("", master_path, of_master);
  }
  auto values = std::make_shared<ConfigValues>();
  MainCf main_file = ParseMainCfLeniently(main_cf, Concat(directory, "/main.cf"), diagnostics);
  values->directory = std::move(directory);
  for (const MainCfEntry& entry : main_file.entries) values->set[entry.name] = entry.value;
  values->main_cf = std::make_shared<const MainCf>(std::move(main_file));
  values->master_cf = std::make_shared<const MasterCf>(*std::move(master_file));
  LeaveOutBadValues(*values, facts, wanted, diagnostics);
  return Config(std::move(values));
}

absl::StatusOr<Config> Config::WithOverrides(const MasterService& service) const {
  auto values = std::make_shared<ConfigValues>(values_->WithOverrides(service));
  absl::Status status = CheckValues(*values);
  if (!status.ok()) return status;
  return Config(std::move(values));
}

std::string Config::GetString(std::string_view name) const {
  CheckKnown(name);
  return Checked(values_->Value(name), name);
}

bool Config::GetBool(std::string_view name) const {
  return Checked(ParseBool(GetString(name)), name);
}

int64_t Config::GetInt(std::string_view name) const {
  return Checked(ParseInteger(GetString(name)), name);
}

int64_t Config::GetSize(std::string_view name) const { return GetInt(name); }

absl::Duration Config::GetTime(std::string_view name) const {
  return Checked(ParseTime(GetString(name), values_->DefaultUnit(name)), name);
}

std::vector<std::string> Config::GetList(std::string_view name) const {
  return SplitList(GetString(name));
}

std::optional<std::string> Config::FindRaw(std::string_view name) const {
  std::optional<std::string_view> raw = values_->AsSet(name);
  if (!raw) return std::nullopt;
  return std::string(*raw);
}

absl::StatusOr<std::string> Config::FindExpanded(std::string_view name) const {
  if (values_->read_from_file.contains(name)) return values_->Expand(*values_->AsSet(name));
  return values_->Value(name);
}

bool Config::IsSet(std::string_view name) const {
  return values_->overrides.contains(name) || values_->set.contains(name);
}

absl::StatusOr<std::string> Config::Expand(std::string_view text) const {
  return values_->Expand(text);
}

const std::string& Config::directory() const { return values_->directory; }
const MainCf& Config::main_cf() const { return *values_->main_cf; }
const MasterCf& Config::master_cf() const { return *values_->master_cf; }
const std::vector<InterfaceAddress>& Config::own_addresses() const {
  return values_->own_addresses;
}

}  // namespace postfleet::config
