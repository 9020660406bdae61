#include "libs/config/config_values.h"

#include <unistd.h>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/expand.h"
#include "libs/config/file_text.h"
#include "libs/config/parameters.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

std::string CompleteHostName(const std::string& hostname, std::string_view mydomain) {
  if (hostname.empty()) return Concat("localhost.", mydomain);
  return hostname.find('.') == hostname.npos ? Concat(hostname, '.', mydomain) : hostname;
}

std::string DomainOf(const std::string& hostname) {
  size_t dot = hostname.find('.');
  return dot == hostname.npos ? "localdomain" : hostname.substr(dot + 1);
}

// Debian's: a path stands for the first line of the file.
absl::Status ReadOrigin(ConfigValues& values) {
  const absl::StatusOr<std::string> origin = values.Value("myorigin");
  if (!origin.ok()) return origin.status();
  if (!origin->starts_with('/')) return absl::OkStatus();
  const absl::StatusOr<std::string> text = ReadFileText(*origin);
  if (!text.ok()) return text.status();
  std::string name(absl::StripAsciiWhitespace(text->substr(0, text->find('\n'))));
  if (name.empty()) {
    return absl::InvalidArgumentError(
        Concat("parameter myorigin: the first line of ", *origin, " is empty"));
  }
  values.read_from_file["myorigin"] = std::move(name);
  return absl::OkStatus();
}

// myhostname's default needs mydomain if that is set; mydomain's default needs myhostname.
absl::Status ComputeNames(const HostFacts& facts, ConfigValues& values) {
  values.computed["mydomain"] = "localdomain";
  absl::StatusOr<std::string> domain = std::string("localdomain");
  if (values.set.contains("mydomain")) domain = values.Value("mydomain");
  if (!domain.ok()) return domain.status();
  values.computed["myhostname"] = CompleteHostName(facts.hostname, *domain);
  absl::StatusOr<std::string> hostname = values.Value("myhostname");
  if (!hostname.ok()) return hostname.status();
  values.computed["mydomain"] = DomainOf(*hostname);
  return ReadOrigin(values);
}

absl::Status ComputeAddresses(const HostFacts& facts, ConfigValues& values) {
  absl::StatusOr<std::string> interfaces = values.Value("inet_interfaces");
  if (!interfaces.ok()) return interfaces.status();
  absl::StatusOr<std::string> protocols = values.Value("inet_protocols");
  if (!protocols.ok()) return protocols.status();
  absl::StatusOr<std::vector<InterfaceAddress>> own =
      SelectInterfaces(SplitList(*interfaces), SplitList(*protocols), facts);
  if (!own.ok()) return own.status();
  absl::StatusOr<std::string> style = values.Value("mynetworks_style");
  if (!style.ok()) return style.status();
  absl::StatusOr<std::string> networks = DefaultMynetworks(*style, *own);
  if (!networks.ok()) return networks.status();
  // No port is bound there.
  std::erase_if(*own, [](const InterfaceAddress& one) { return IsLinkLocal(one.address); });
  values.own_addresses = *std::move(own);
  values.computed["mynetworks"] = *std::move(networks);
  return absl::OkStatus();
}

// "$default_destination_concurrency_limit", of which there is one for each row.
std::string_view ReferenceTo(const TransportParameter& parameter) {
  static const Settings* const references = [] {
    auto* made = new Settings;
    for (const TransportParameter& row : TransportParameters()) {
      made->emplace(row.fallback, Concat("$", row.fallback));
    }
    return made;
  }();
  return references->find(parameter.fallback)->second;
}

}  // namespace

std::optional<std::string_view> ConfigValues::Default(std::string_view name) const {
  if (auto it = computed.find(name); it != computed.end()) return it->second;
  if (const Parameter* parameter = FindParameter(name)) return parameter->default_value;
  std::optional<TransportParameter> transport = FindTransportParameter(name);
  if (!transport) return std::nullopt;
  return ReferenceTo(*transport);
}

std::optional<std::string_view> ConfigValues::Lookup(std::string_view name) const {
  if (auto it = read_from_file.find(name); it != read_from_file.end()) return it->second;
  return left_out.contains(name) ? Default(name) : AsSet(name);
}

std::optional<std::string_view> ConfigValues::AsSet(std::string_view name) const {
  if (auto it = overrides.find(name); it != overrides.end()) return it->second;
  if (auto it = set.find(name); it != set.end()) return it->second;
  return Default(name);
}

absl::StatusOr<std::string> ConfigValues::Expand(std::string_view text) const {
  return ExpandValue(text, [this](std::string_view name) { return Lookup(name); });
}

absl::StatusOr<std::string> ConfigValues::Value(std::string_view name) const {
  std::optional<std::string_view> raw = Lookup(name);
  if (!raw) return absl::NotFoundError(Concat(name, ": unknown parameter"));
  absl::StatusOr<std::string> value = Expand(*raw);
  if (value.ok()) return value;
  return absl::InvalidArgumentError(
      Concat("parameter ", name, ": ",
             std::string_view(value.status().message().data(), value.status().message().size()),
             Where(name)));
}

char ConfigValues::DefaultUnit(std::string_view name) const {
  if (const Parameter* parameter = FindParameter(name)) {
    absl::StatusOr<std::string> value = Expand(parameter->default_value);
    bool has_unit = value.ok() && !value->empty() &&
                    absl::ascii_isalpha(static_cast<unsigned char>(value->back()));
    return has_unit ? value->back() : 's';
  }
  std::optional<TransportParameter> transport = FindTransportParameter(name);
  return transport ? DefaultUnit(transport->fallback) : 's';
}

std::string ConfigValues::Where(std::string_view name) const {
  if (auto it = overrides.find(name); it != overrides.end()) {
    auto service = overrides.find("service_name");
    std::string_view of = service == overrides.end() ? std::string_view() : service->second;
    return Concat(" (", master_cf->path, ", line ", service_line, ", -o of service ", of, ")");
  }
  const MainCfEntry* entry = main_cf->Find(name);
  return entry == nullptr ? "" : Concat(" (", main_cf->path, ", line ", entry->line, ")");
}

ConfigValues ConfigValues::WithOverrides(const MasterService& service) const {
  ConfigValues result = *this;
  result.service_line = service.line;
  result.overrides["service_name"] = service.name;
  for (const auto& [name, value] : service.overrides) result.overrides[name] = value;
  if (result.overrides.contains("myorigin")) {
    result.read_from_file.erase("myorigin");
    // A path that stays is found by CheckValues.
    ReadOrigin(result).IgnoreError();
  }
  return result;
}

absl::Status ComputeDefaults(const HostFacts& facts, ConfigValues& values) {
  values.computed["config_directory"] = values.directory;
  values.computed["mail_version"] = std::string(kMailVersion);
  values.computed["process_id"] = Concat(static_cast<int64_t>(getpid()));
  values.computed["process_name"] = "postfleetd";
  for (const std::string_view own : {"process_id", "process_name", "service_name"}) {
    if (auto set = values.set.find(own); set != values.set.end()) values.set.erase(set);
  }
  absl::Status status = ComputeNames(facts, values);
  return status.ok() ? ComputeAddresses(facts, values) : status;
}

}  // namespace postfleet::config
