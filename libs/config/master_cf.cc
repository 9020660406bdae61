#include "libs/config/master_cf.h"

#include <netdb.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/ip_network.h"
#include "libs/config/logical_lines.h"
#include "libs/config/main_cf.h"
#include "libs/config/parameters.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

constexpr std::string_view kWhitespace = " \t\r\n";
constexpr size_t kColumns = 8;

struct Program {
  std::string_view name;
  bool delivers;   // an agent that the scheduler gives mail to
  bool supported;  // or part of another service, so that naming it does no harm
};
constexpr std::array<Program, 29> kPrograms = {{
    {"smtp", true, true},         {"lmtp", true, true},       {"local", true, true},
    {"virtual", true, true},      {"error", true, true},      {"discard", true, true},
    {"pipe", true, true},         {"smtpd", false, true},     {"pickup", false, true},
    {"cleanup", false, true},     {"qmgr", false, true},      {"oqmgr", false, true},
    {"nqmgr", false, true},       {"bounce", false, true},    {"trivial-rewrite", false, true},
    {"showq", false, true},       {"flush", false, true},     {"anvil", false, true},
    {"scache", false, true},      {"proxymap", false, true},  {"tlsmgr", false, true},
    {"verify", false, true},      {"postlogd", false, true},  {"dnsblog", false, false},
    {"postscreen", false, false}, {"tlsproxy", false, false}, {"spawn", false, false},
    {"qmqpd", false, false},      {"postlog", false, true},
}};

struct Stock {
  std::string_view name;
  std::string_view command;
};
// The transports of stock master.cf: a configuration that lost one still knows its name.
constexpr std::array<Stock, 9> kStock = {{
    {"smtp", "smtp"},
    {"relay", "smtp"},
    {"lmtp", "lmtp"},
    {"local", "local"},
    {"virtual", "virtual"},
    {"error", "error"},
    {"retry", "error"},
    {"discard", "discard"},
    {"bounce", "bounce"},
}};

struct NamedPort {
  std::string_view name;
  int port;
};
constexpr std::array<NamedPort, 6> kPorts = {{{"smtp", 25},
                                              {"smtps", 465},
                                              {"submissions", 465},
                                              {"submission", 587},
                                              {"lmtp", 24},
                                              {"qmqp", 628}}};

struct TypeName {
  std::string_view name;
  ServiceType type;
};
constexpr std::array<TypeName, 5> kTypes = {{{"inet", ServiceType::kInet},
                                             {"unix", ServiceType::kUnix},
                                             {"fifo", ServiceType::kFifo},
                                             {"pass", ServiceType::kPass},
                                             {"unix-dgram", ServiceType::kUnixDgram}}};

const Program* FindProgram(std::string_view name) {
  for (const Program& program : kPrograms) {
    if (program.name == name) return &program;
  }
  return nullptr;
}

// Swapped letters are two changes, which is half of "smtp".
std::optional<std::string_view> NearestProgram(std::string_view name) {
  for (const Program& program : kPrograms) {
    std::string sorted[] = {std::string(name), std::string(program.name)};
    for (std::string& letters : sorted) std::sort(letters.begin(), letters.end());
    if (sorted[0] == sorted[1]) return program.name;
  }
  std::vector<std::string_view> names;
  for (const Program& program : kPrograms) names.push_back(program.name);
  return NearestName(name, names);
}

// Words separated by whitespace; "{ ... }" is one word and keeps its braces.
std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  int depth = 0;
  for (char c : text) {
    if (depth == 0 && kWhitespace.find(c) != kWhitespace.npos) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
      continue;
    }
    // Braces group only at the start of a word: pipe arguments such as ${recipient} hold no blanks.
    if (c == '{') ++depth;
    if (c == '}' && depth > 0) --depth;
    word.push_back(c);
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// One entry; every function answers what is wrong, without place.
class EntryParser {
 public:
  explicit EntryParser(std::string_view line) : words_(SplitWords(line)) {}

  absl::StatusOr<MasterService> Parse() {
    if (words_.size() < kColumns) return absl::InvalidArgumentError("bad field count");
    service_.name = words_[0];
    service_.wakeup = words_[5];
    service_.command = words_[7];
    for (auto step : {&EntryParser::ParseType, &EntryParser::ParseFlags, &EntryParser::ParseMaxproc,
                      &EntryParser::ParseWakeup, &EntryParser::ParseArguments}) {
      absl::Status status = (this->*step)();
      if (!status.ok()) return status;
    }
    return std::move(service_);
  }

 private:
  absl::Status ParseType() {
    auto row = std::find_if(kTypes.begin(), kTypes.end(),
                            [&](const TypeName& type) { return type.name == words_[1]; });
    if (row == kTypes.end()) {
      return absl::InvalidArgumentError(Concat("bad transport type: ", words_[1]));
    }
    service_.type = row->type;
    if (row->type != ServiceType::kInet) return absl::OkStatus();
    absl::StatusOr<InetEndpoint> endpoint = ParseInetEndpoint(service_.name);
    if (!endpoint.ok()) return endpoint.status();
    service_.endpoint = *std::move(endpoint);
    return absl::OkStatus();
  }

  absl::Status ParseFlags() {
    // An inet service cannot be private; Postfix refuses "y" and "-" there.
    service_.is_private = service_.type != ServiceType::kInet;
    absl::Status status = ParseFlag(2, "private", service_.is_private);
    if (status.ok()) status = ParseFlag(3, "unprivileged", service_.unprivileged);
    if (status.ok()) status = ParseFlag(4, "chroot", service_.chroot);
    if (status.ok() && service_.type == ServiceType::kInet && words_[2] != "n") {
      return absl::InvalidArgumentError(
          Concat("inet service \"", service_.name, "\" must not be private: put n in column 3"));
    }
    return status;
  }

  absl::Status ParseFlag(size_t column, std::string_view name, bool& flag) {
    const std::string& word = words_[column];
    if (word == "-") return absl::OkStatus();
    if (word != "y" && word != "n") return BadField(name, word);
    flag = word == "y";
    return absl::OkStatus();
  }

  absl::Status ParseMaxproc() {
    if (words_[6] == "-") return absl::OkStatus();
    absl::StatusOr<int64_t> number = ParseInteger(words_[6]);
    if (!number.ok() || *number < 0 || *number > 1'000'000)
      return BadField("process_limit", words_[6]);
    service_.maxproc = static_cast<int>(*number);
    return absl::OkStatus();
  }

  absl::Status ParseWakeup() {
    if (words_[5] == "-") return absl::OkStatus();
    std::string_view digits = words_[5];
    if (digits.ends_with('?')) digits.remove_suffix(1);
    absl::StatusOr<int64_t> number = ParseInteger(digits);
    return number.ok() && *number >= 0 ? absl::OkStatus() : BadField("wakeup_time", words_[5]);
  }

  absl::Status ParseArguments() {
    for (size_t i = kColumns; i < words_.size(); ++i) {
      std::string& word = words_[i];
      // "{-o name = value}" is one argument with blanks in it.
      if (word.starts_with('{')) {
        absl::StatusOr<std::string> inner = StripBraces(word);
        if (!inner.ok()) return inner.status();
        word = *std::move(inner);
      }
      // What is behind the first attribute of pipe is its own: "argv=/bin/x -o y".
      if (service_.command == "pipe" && (!service_.arguments.empty() || !word.starts_with('-'))) {
        service_.arguments.push_back(word);
      } else if (word == "-v" || word == "-vv" || word == "-vvv") {
        service_.verbose += static_cast<int>(word.size()) - 1;
      } else if (word == "-o") {
        if (++i == words_.size()) return absl::InvalidArgumentError("-o needs name=value after it");
        absl::Status status = AddOverride(words_[i]);
        if (!status.ok()) return status;
      } else if (word.starts_with("-o") && service_.command != "pipe") {
        absl::Status status = AddOverride(std::string_view(word).substr(2));
        if (!status.ok()) return status;
      } else {
        service_.arguments.push_back(word);
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddOverride(std::string_view word) {
    absl::StatusOr<std::string> text = StripBraces(word);
    if (!text.ok()) return text.status();
    absl::StatusOr<MainCfEntry> entry = ParseAssignment(*text);
    if (!entry.ok())
      return absl::InvalidArgumentError(Concat("-o ", word, ": ", Text(entry.status())));
    service_.overrides.emplace_back(std::move(entry->name), std::move(entry->value));
    return absl::OkStatus();
  }

  static absl::Status BadField(std::string_view field, std::string_view value) {
    return absl::InvalidArgumentError(Concat("field \"", field, "\": bad value: \"", value, "\""));
  }

  std::vector<std::string> words_;
  MasterService service_;
};

// What stands behind a command besides -o. The arguments of pipe are its own.
void WarnOfArguments(std::string_view where, const MasterService& service,
                     Diagnostics& diagnostics) {
  if (service.verbose > 0) {
    diagnostics.Warn(Concat(where, "-v of service ", service.Selector(),
                            " changes nothing: follow one message by its queue id in the log"));
  }
  if (service.command == "pipe") return;
  for (const std::string& argument : service.arguments) {
    diagnostics.Warn(Concat(where, "argument \"", argument, "\" of service ", service.Selector(),
                            " is not supported; it is ignored"));
  }
}

void WarnUnsupported(const MasterCf& file, const MasterService& service, Diagnostics& diagnostics) {
  std::string where = Concat(file.path, ": line ", service.line, ": ");
  const Program* program = FindProgram(service.command);
  if (program == nullptr || !program->supported) {
    const std::optional<std::string_view> nearest =
        program == nullptr ? NearestProgram(service.command) : std::nullopt;
    diagnostics.Warn(Concat(where, "program \"", service.command, "\" of service ",
                            service.Selector(), " is not supported yet; the service is not started",
                            nearest ? Concat(" (did you mean \"", *nearest, "\"?)") : ""));
    return;
  }
  WarnOfArguments(where, service, diagnostics);
  if (service.command == "smtpd" && service.type != ServiceType::kInet) {
    diagnostics.Warn(Concat(where, "service ", service.Selector(),
                            ": smtpd is supported on inet only; the service is not started"));
  }
}

// One line for all: Debian's stock file says "y" nearly everywhere.
void WarnOfChroot(const MasterCf& file, Diagnostics& diagnostics) {
  std::string names;
  for (const MasterService& service : file.services) {
    if (!service.chroot) continue;
    ConcatTo(&names, names.empty() ? "" : ", ", service.Selector());
  }
  if (names.empty()) return;
  diagnostics.Warn(
      Concat(file.path, ": chroot is not supported yet; these services run without: ", names));
}

void AddService(MasterCf& file, MasterService service, Diagnostics& diagnostics) {
  WarnUnsupported(file, service, diagnostics);
  for (MasterService& earlier : file.services) {
    if (earlier.name != service.name || earlier.type != service.type) continue;
    diagnostics.Warn(Concat(file.path, ": line ", service.line, ": duplicate master.cf entry for ",
                            service.Selector(), "; using the last entry"));
    earlier = std::move(service);
    return;
  }
  file.services.push_back(std::move(service));
}

void AddStockServices(MasterCf& file) {
  for (const Stock& stock : kStock) {
    if (file.Find(stock.name, ServiceType::kUnix) != nullptr) continue;
    MasterService service;
    service.name = stock.name;
    service.command = stock.command;
    service.wakeup = "-";
    service.implied = true;
    file.services.push_back(std::move(service));
  }
}

}  // namespace

std::string MasterService::Selector() const {
  for (const TypeName& row : kTypes) {
    if (row.type == type) return Concat(name, '/', row.name);
  }
  return name;
}

const MasterService* MasterCf::Find(std::string_view name, ServiceType type) const {
  for (const MasterService& service : services) {
    if (service.name == name && service.type == type) return &service;
  }
  return nullptr;
}

const MasterService* MasterCf::FindTransport(std::string_view name) const {
  const MasterService* service = Find(name, ServiceType::kUnix);
  return service != nullptr && IsDeliveryAgent(service->command) ? service : nullptr;
}

std::vector<const MasterService*> MasterCf::WithCommand(std::string_view command) const {
  std::vector<const MasterService*> found;
  for (const MasterService& service : services) {
    if (service.command == command) found.push_back(&service);
  }
  return found;
}

absl::StatusOr<MasterCf> ParseMasterCf(std::string_view text, std::string path,
                                       Diagnostics& diagnostics) {
  MasterCf file;
  file.path = std::move(path);
  for (const LogicalLine& line : SplitLogicalLines(text)) {
    if (IsContinuationOfNothing(line)) {
      diagnostics.Warn(
          Concat(file.path, ": line ", line.first_line, ": ", kContinuesNothing, line.text, "\""));
      continue;
    }
    absl::StatusOr<MasterService> service = EntryParser(line.text).Parse();
    if (!service.ok()) {
      return absl::InvalidArgumentError(
          Concat(file.path, ": line ", line.first_line, ": ", Text(service.status())));
    }
    service->line = line.first_line;
    AddService(file, *std::move(service), diagnostics);
  }
  WarnOfChroot(file, diagnostics);
  AddStockServices(file);
  return file;
}

absl::StatusOr<MasterCf> ReadMasterCf(const std::string& path, Diagnostics& diagnostics) {
  absl::StatusOr<std::string> text = ReadFileText(path);
  if (!text.ok()) return text.status();
  return ParseMasterCf(*text, path, diagnostics);
}

absl::StatusOr<int> ParsePort(std::string_view text) {
  absl::Status bad = absl::InvalidArgumentError(Concat("bad port: \"", text, "\""));
  absl::StatusOr<int64_t> number = ParseInteger(text);
  if (number.ok()) {
    if (*number < 0 || *number > 65535) return bad;
    return static_cast<int>(*number);
  }
  std::string name(text);
  for (const NamedPort& named : kPorts) {
    if (named.name == absl::AsciiStrToLower(name)) return named.port;
  }
  servent storage{};
  servent* found = nullptr;
  char buffer[1024];
  if (getservbyname_r(name.c_str(), "tcp", &storage, buffer, sizeof buffer, &found) != 0 ||
      found == nullptr) {
    return bad;
  }
  return ntohs(static_cast<uint16_t>(found->s_port));
}

absl::StatusOr<InetEndpoint> ParseInetEndpoint(std::string_view text) {
  InetEndpoint endpoint;
  std::string_view port = text;
  if (text.starts_with('[')) {
    size_t close = text.find("]:");
    if (close == text.npos) {
      return absl::InvalidArgumentError(Concat("bad hostname or network address: ", text));
    }
    endpoint.host = text.substr(1, close - 1);
    port = text.substr(close + 2);
    if (endpoint.host.empty()) {
      return absl::InvalidArgumentError(Concat("bad hostname or network address: ", text));
    }
  } else if (size_t colon = text.rfind(':'); colon != text.npos) {
    endpoint.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    // 2001:db8::1:25 could be read both ways.
    if (endpoint.host.find(':') != endpoint.host.npos) {
      return absl::InvalidArgumentError(
          Concat("bad hostname or network address: ", text, "; write [address]:port"));
    }
  }
  absl::StatusOr<int> number = ParsePort(port);
  if (!number.ok()) return number.status();
  endpoint.port = *number;
  return endpoint;
}

bool IsDeliveryAgent(std::string_view command) {
  const Program* program = FindProgram(command);
  return program != nullptr && program->delivers;
}

}  // namespace postfleet::config
