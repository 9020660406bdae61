// What Load says about a configuration: errors that stop the start, warnings for what has no
// effect.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/cluster_members.h"
#include "libs/config/config_values.h"
#include "libs/config/expand.h"
#include "libs/config/parameters.h"
#include "libs/config/pipe_service.h"
#include "libs/config/queue_addresses.h"
#include "libs/config/refusals.h"
#include "libs/config/restrictions.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

bool IsChoice(std::string_view choices, const std::string& value) {
  for (const std::string& choice : SplitList(choices)) {
    if (choice == value) return true;
  }
  return false;
}

// Checks of one value by type. Postfix's words, then what to do.

absl::Status CheckMinimum(const Parameter& row, int64_t value) {
  if (value >= row.minimum) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("invalid ", row.name, " parameter value ", value, " < ", row.minimum));
}

absl::Status CheckBool(const Parameter& row, const std::string& value) {
  if (ParseBool(value).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("bad boolean configuration: ", row.name, " = ", value, "; specify \"yes\" or \"no\""));
}

absl::Status CheckNumber(const Parameter& row, const std::string& value) {
  absl::StatusOr<int64_t> number = ParseInteger(value);
  if (number.ok()) return CheckMinimum(row, *number);
  return absl::InvalidArgumentError(
      Concat("bad numerical configuration: ", row.name, " = ", value, "; specify a number"));
}

absl::Status CheckTime(const Parameter& row, const std::string& value, char unit) {
  absl::StatusOr<absl::Duration> time = ParseTime(value, unit);
  if (time.ok()) return CheckMinimum(row, absl::ToInt64Seconds(*time));
  return absl::InvalidArgumentError(Concat(
      "parameter ", row.name, ": bad time value or unit: ", value, "; ", Text(time.status())));
}

absl::Status CheckChoice(const Parameter& row, const std::string& value) {
  if (IsChoice(row.choices, absl::AsciiStrToLower(value))) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("parameter ", row.name, ": bad value: \"", value,
                                           "\"; specify one of: ", row.choices));
}

// As Postfix's valid_hostname; "": it is one.
std::string WrongInHostName(std::string_view name) {
  if (name.empty()) return "empty";
  bool has_letter = false;
  size_t label_bytes = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool last = i + 1 == name.size();
    if (absl::ascii_isalnum(c) || c == '_' || c == '-') {
      if (++label_bytes > 63) return "hostname label too long";
      has_letter = has_letter || !absl::ascii_isdigit(c);
      if (c == '-' && (label_bytes == 1 || last || name[i + 1] == '.')) return "misplaced hyphen";
    } else if (c == '.') {
      if (label_bytes == 0 || last) return "misplaced delimiter";
      label_bytes = 0;
    } else {
      return Concat("invalid character ", static_cast<int>(c), "(decimal)");
    }
  }
  if (!has_letter) return "numeric hostname";
  return name.size() > 255 ? "bad length" : "";
}

absl::Status CheckName(const ConfigValues& values, const Parameter& row, const std::string& value) {
  if (row.name != "myhostname" && row.name != "mydomain" && row.name != "myorigin") {
    return absl::OkStatus();
  }
  if (value.empty()) {
    return absl::InvalidArgumentError(Concat("bad string length 0 < 1: ", row.name, " = "));
  }
  if (row.name == "myorigin" && value.starts_with('/') && values.overrides.contains("myorigin")) {
    return absl::InvalidArgumentError(Concat(value, ": cannot open file"));
  }
  const std::string wrong = row.name == "myorigin" ? "" : WrongInHostName(value);
  if (wrong.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("parameter ", row.name, ": bad parameter value: ", value, " (", wrong, ")"));
}

// What a cluster is made of (cluster_members.h).
absl::Status CheckCluster(const ConfigValues& values, const Parameter& row,
                          const std::string& value) {
  const bool is_name = row.name == "postfleet_cluster_name";
  if (!is_name && row.name != "postfleet_cluster_members") return absl::OkStatus();
  absl::StatusOr<std::string> list = values.Value("postfleet_cluster_members");
  if (!list.ok()) return list.status();
  const absl::StatusOr<std::vector<ClusterMember>> members = ParseClusterMembers(*list);
  if (!members.ok() && !is_name) {
    return absl::InvalidArgumentError(Concat("parameter ", row.name, ": ", Text(members.status())));
  }
  if (!is_name || !members.ok() || value.empty() || members->empty() ||
      FindClusterMember(*members, value) != nullptr) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      Concat("parameter ", row.name, ": ", value, " is no member of postfleet_cluster_members"));
}

absl::Status CheckQueueAddress(const Parameter& row, const std::string& value) {
  if (row.name != "postfleet_queue_address") return absl::OkStatus();
  const absl::Status status = ParseQueueAddresses(value).status();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(Concat("parameter ", row.name, ": ", Text(status)));
}

absl::Status CheckTyped(const Parameter& row, const std::string& value, char unit) {
  switch (row.type) {
    case ParameterType::kBool:
      return CheckBool(row, value);
    case ParameterType::kInt:
    case ParameterType::kSize:
      return CheckNumber(row, value);
    case ParameterType::kTime:
      return CheckTime(row, value, unit);
    case ParameterType::kEnum:
      return CheckChoice(row, value);
    case ParameterType::kString:
    case ParameterType::kRaw:
    case ParameterType::kList:
    case ParameterType::kMaps:
    case ParameterType::kMatches:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

// The row of a name; a transport's parameter looks like its default's.
std::optional<Parameter> FindRow(std::string_view name) {
  if (const Parameter* parameter = FindParameter(name)) return *parameter;
  std::optional<TransportParameter> transport = FindTransportParameter(name);
  if (!transport) return std::nullopt;
  Parameter row;
  row.name = name;
  row.type = transport->type;
  row.status = transport->status;
  if (const Parameter* fallback = FindParameter(transport->fallback)) row.hint = fallback->hint;
  return row;
}

absl::Status CheckOne(const ConfigValues& values, const Parameter& row) {
  if (row.type == ParameterType::kRaw) return absl::OkStatus();
  absl::StatusOr<std::string> value = values.Value(row.name);
  if (!value.ok()) return value.status();
  absl::Status status = CheckTyped(row, *value, values.DefaultUnit(row.name));
  if (status.ok()) status = CheckName(values, row, *value);
  if (status.ok()) status = CheckCluster(values, row, *value);
  if (status.ok()) status = CheckQueueAddress(row, *value);
  if (!status.ok()) {
    return absl::InvalidArgumentError(Concat(Text(status), values.Where(row.name)));
  }
  return CheckTables(values, row, *value);
}

// smtpd(8) refuses to start without a decision on relaying.
absl::Status CheckRestrictions(const ConfigValues& values, bool receives_mail) {
  std::vector<Restriction> relay, recipient;
  for (std::string_view name :
       {"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
        "smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_data_restrictions",
        "smtpd_end_of_data_restrictions", "smtpd_etrn_restrictions"}) {
    absl::StatusOr<std::string> value = values.Value(name);
    if (!value.ok()) return value.status();
    absl::StatusOr<std::vector<Restriction>> list = ParseRestrictions(name, *value);
    if (!list.ok()) {
      return absl::InvalidArgumentError(Concat(Text(list.status()), values.Where(name)));
    }
    if (name == "smtpd_relay_restrictions") relay = *list;
    if (name == "smtpd_recipient_restrictions") recipient = *list;
  }
  return receives_mail ? CheckForeignRelay(relay, recipient) : absl::OkStatus();
}

// Warnings

// For "is it the default?": lists in one spelling, yes and no in one case, times in seconds.
std::string Normalized(const ConfigValues& values, const Parameter& row, std::string_view raw) {
  absl::StatusOr<std::string> expanded = values.Expand(raw);
  if (!expanded.ok()) return std::string(raw);
  if (row.type == ParameterType::kTime) {
    absl::StatusOr<absl::Duration> time = ParseTime(*expanded, values.DefaultUnit(row.name));
    if (time.ok()) return Concat(absl::ToInt64Seconds(*time));
  }
  std::string text;
  for (const std::string& item : SplitList(*expanded))
    ConcatTo(&text, text.empty() ? "" : " ", item);
  return row.type == ParameterType::kBool ? absl::AsciiStrToLower(text) : text;
}

class Warner {
 public:
  Warner(const ConfigValues& values, Diagnostics& diagnostics)
      : values_(values), diagnostics_(diagnostics) {
    CollectReferencedNames();
    CollectTransportNames();
  }

  void WarnOf(const ConfigValues& values, std::string_view name, std::string_view value,
              std::string_view file, std::string_view place) {
    if (IsReadOnly(name)) {
      diagnostics_.Warn(Concat(file, ": read-only parameter assignment: ", name, '=', value));
      return;
    }
    std::optional<Parameter> row = FindRow(name);
    if (FindParameter(name) == nullptr && !IsReferenced(name) && !IsOfTransport(name)) {
      std::optional<std::string_view> nearest = NearestParameter(name, of_transports_);
      std::string hint = nearest ? Concat(" (did you mean \"", *nearest, "\"?)") : "";
      diagnostics_.Warn(Concat(file, ": unused parameter: ", name, '=', value, hint),
                        Diagnostic::Kind::kUnused);
      return;
    }
    if (!row || !(IsIgnored(*row) || row->status == ParameterStatus::kPartly)) return;
    const std::string_view harmless =
        row->anyway.empty() ? values.Default(name).value_or("") : row->anyway;
    const std::string wanted = Normalized(values, *row, value);
    if (wanted == Normalized(values, *row, harmless)) return;
    // No tables, no addresses: that is how it is without the parameter.
    if (row->status == ParameterStatus::kUnsupported && row->type == ParameterType::kList &&
        wanted.empty()) {
      return;
    }
    // What may stand for a protective parameter needs no advice.
    std::string_view hint =
        row->status == ParameterStatus::kProtective ? std::string_view() : row->hint;
    diagnostics_.Warn(Concat(place, ": parameter \"", name,
                             IsIgnored(*row) ? "\" is not supported yet; its value is ignored"
                                             : "\" is honoured in part",
                             hint.empty() ? "" : "; ", hint),
                      Diagnostic::Kind::kUnsupported);
  }

 private:
  // What a program sets itself, whatever main.cf says.
  static bool IsReadOnly(std::string_view name) {
    return name == "process_id" || name == "process_name" || name == "service_name";
  }

  static bool IsIgnored(const Parameter& row) {
    return row.status == ParameterStatus::kUnsupported ||
           row.status == ParameterStatus::kProtective;
  }

  bool IsReferenced(std::string_view name) const { return referenced_.contains(name); }

  bool IsOfTransport(std::string_view name) const {
    std::optional<TransportParameter> transport = FindTransportParameter(name);
    if (!transport) return false;
    for (const MasterService& service : values_.master_cf->services) {
      if (service.name == transport->transport) return true;
    }
    return false;
  }

  void CollectReferencedNames() {
    auto add = [this](std::string_view name) { referenced_.emplace(name); };
    for (const Parameter& parameter : AllParameters()) {
      CollectReferences(parameter.default_value, add);
    }
    for (const MainCfEntry& entry : values_.main_cf->entries) {
      CollectReferences(entry.value, add);
      if (entry.name != "smtpd_restriction_classes") continue;
      for (const std::string& name : SplitList(entry.value)) referenced_.insert(name);
    }
    for (const MasterService& service : values_.master_cf->services) {
      for (const auto& [name, value] : service.overrides) CollectReferences(value, add);
      for (const std::string& argument : service.arguments) CollectReferences(argument, add);
    }
  }

  void CollectTransportNames() {
    for (const MasterService& service : values_.master_cf->services) {
      if (!IsDeliveryAgent(service.command)) continue;
      for (const TransportParameter& row : TransportParameters()) {
        of_transports_.push_back(Concat(service.name, row.suffix));
      }
    }
  }

  const ConfigValues& values_;
  Diagnostics& diagnostics_;
  std::set<std::string, std::less<>> referenced_;
  std::vector<std::string> of_transports_;
};

// The part of the system that reads the overrides of a service; empty: none does.
std::string_view ReaderOfOverrides(std::string_view command) {
  if (command == "smtpd") return "ingress";
  return IsDeliveryAgent(command) || command == "bounce" ? "delivery" : "";
}

// An override of what another part of the system reads, from main.cf, changes nothing.
void WarnOfIdleOverride(const ConfigValues& values, const MasterService& service,
                        std::string_view name, std::string_view value, std::string_view place,
                        Diagnostics& diagnostics) {
  const Parameter* row = FindParameter(name);
  if (row == nullptr ||
      (row->status != ParameterStatus::kHonoured && row->status != ParameterStatus::kPartly)) {
    return;
  }
  std::string_view reader = ReaderOfOverrides(service.command);
  for (const std::string& one : SplitList(row->readers)) {
    if (!reader.empty() && (one == reader || one == "all" || one == "config")) return;
  }
  std::string_view in_main_cf = values.Lookup(name).value_or("");
  if (Normalized(values, *row, value) == Normalized(values, *row, in_main_cf)) return;
  diagnostics.Warn(Concat(place, ": parameter \"", name,
                          "\" of this service is read nowhere; it is ignored, set it in "
                          "main.cf"));
}

// The attributes of pipe. As with Postfix, mail for such a transport waits.
void WarnOfPipe(const MasterService& service, Diagnostics& diagnostics) {
  if (service.command != "pipe") return;
  const absl::StatusOr<PipeService> pipe = ParsePipeService(service.arguments);
  if (pipe.ok()) return;
  diagnostics.Warn(Concat("master.cf line ", service.line, " (", service.Selector(),
                          "): ", Text(pipe.status()), "; its mail is deferred"));
}

void WarnOfAll(const ConfigValues& values, Diagnostics& diagnostics) {
  Warner warner(values, diagnostics);
  for (const MainCfEntry& entry : values.main_cf->entries) {
    warner.WarnOf(values, entry.name, entry.value, values.main_cf->path,
                  Concat("main.cf line ", entry.line));
  }
  for (const MasterService& service : values.master_cf->services) {
    WarnOfPipe(service, diagnostics);
    ConfigValues of_service = values.WithOverrides(service);
    for (const auto& [name, value] : service.overrides) {
      std::string place = Concat("master.cf line ", service.line, " (", service.Selector(), ")");
      warner.WarnOf(of_service, name, value, values.master_cf->path, place);
      WarnOfIdleOverride(values, service, name, value, place, diagnostics);
    }
  }
}

absl::Status CheckServices(const ConfigValues& values) {
  for (const MasterService& service : values.master_cf->services) {
    bool receives = service.command == "smtpd" && service.type == ServiceType::kInet;
    if (service.overrides.empty() && !receives) continue;
    ConfigValues of_service = values.WithOverrides(service);
    absl::Status status = CheckValues(of_service);
    if (status.ok()) status = CheckProtections(of_service, of_service.overrides);
    if (status.ok()) status = CheckRestrictions(of_service, receives);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckValues(const ConfigValues& values) {
  for (const Parameter& row : AllParameters()) {
    if (row.status == ParameterStatus::kUnsupported) continue;
    absl::Status status = CheckOne(values, row);
    if (!status.ok()) return status;
  }
  for (const Settings* settings : {&values.set, &values.overrides}) {
    for (const auto& [name, value] : *settings) {
      std::optional<Parameter> row = FindRow(name);
      if (!row || row->status == ParameterStatus::kUnsupported || FindParameter(name)) continue;
      absl::Status status = CheckOne(values, *row);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

void LeaveOutBadValues(ConfigValues& values, const HostFacts& facts,
                       std::initializer_list<std::string_view> wanted, Diagnostics& diagnostics) {
  std::map<std::string_view, absl::Status> bad;
  // What values are made of must be known before they are judged ($mydomain).
  ComputeDefaults(facts, values).IgnoreError();
  // A value that is left out may be why another one could not be expanded, so one round finds all.
  for (const auto& [name, value] : values.set) {
    std::optional<Parameter> row = FindRow(name);
    if (!row) continue;
    absl::Status status = CheckOne(values, *row);
    if (!status.ok()) bad.emplace(name, std::move(status));
  }
  for (const auto& [name, status] : bad) {
    values.left_out.emplace(name);
    if (wanted.size() > 0 && std::find(wanted.begin(), wanted.end(), name) == wanted.end())
      continue;
    diagnostics.Warn(Concat(Text(status), "; its default is used"));
  }
  // What fails here is bad interfaces: no address is ours then.
  if (!ComputeDefaults(facts, values).ok()) values.computed["mynetworks"] = "";
}

absl::Status CheckConfig(const ConfigValues& values, Diagnostics& diagnostics) {
  absl::Status status = CheckValues(values);
  if (status.ok()) status = CheckLogFile(values);
  if (status.ok()) status = CheckProtections(values, values.set);
  if (status.ok()) status = CheckRestrictions(values, false);
  if (status.ok()) status = CheckServices(values);
  if (status.ok()) WarnOfAll(values, diagnostics);
  return status;
}

}  // namespace postfleet::config
