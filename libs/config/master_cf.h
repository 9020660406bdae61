// Reader of Postfix's master.cf (master(5)): which services run, where they listen, with which
// overrides.
//
//   service type private unpriv chroot wakeup maxproc command + args
//   smtp    inet n       -      n      -      -       smtpd -o name=value -o { name = value with
//   spaces } -v
// Types inet, unix, fifo, pass, unix-dgram. "-" is the default of its column. maxproc "-" is
// default_process_limit, 0 is no limit. An inet name is host:port, [host]:port, :port or port; a
// port is a number, or a name of the built-in list (smtp 25, smtps and submissions 465, submission
// 587, lmtp 24, qmqp 628) or of getservbyname. In Postfleet a service is a role, not a process:
// unpriv, private and wakeup are parsed and not acted upon; chroot and -v neither, with a warning.
// Errors: "PATH: line N: bad field count" and the like in Postfix's words. Warnings: programs,
// services and arguments that are not supported; a line that begins with white space and continues
// nothing, which is left out. Services that stock master.cf has and this one lacks are added as
// unix transports (implied = true).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/diagnostics.h"

namespace postfleet::config {

enum class ServiceType { kInet, kUnix, kFifo, kPass, kUnixDgram };

// Where an inet service listens.
struct InetEndpoint {
  std::string host;  // empty: every address of inet_interfaces; no brackets
  int port = 0;      // 0: any free port
};

struct MasterService {
  std::string name;  // column 1 as written: "smtp", "127.0.0.1:10025"
  ServiceType type = ServiceType::kUnix;
  bool is_private = true;
  bool unprivileged = true;
  bool chroot = false;
  std::string wakeup;          // as written, "-" included
  std::optional<int> maxproc;  // nullopt: default_process_limit; 0: no limit
  std::string command;         // "smtpd", "smtp", "virtual", ...
  std::vector<std::pair<std::string, std::string>>
      overrides;                         // -o, in order; the last one of a name wins
  int verbose = 0;                       // number of -v
  std::vector<std::string> arguments;    // what else stood after the command
  std::optional<InetEndpoint> endpoint;  // inet and pass-of-inet only
  int line = 0;
  bool implied = false;  // stock service that the file does not name

  // "smtp/inet", as postconf -P and -o selectors write it.
  std::string Selector() const;
};

struct MasterCf {
  std::string path;
  std::vector<MasterService> services;  // the last entry of a name and type wins, with a warning

  const MasterService* Find(std::string_view name, ServiceType type) const;
  // A delivery agent by its transport name: unix services whose command is one.
  const MasterService* FindTransport(std::string_view name) const;
  // All entries that are programs of that name ("smtpd": every port).
  std::vector<const MasterService*> WithCommand(std::string_view command) const;
};

absl::StatusOr<MasterCf> ParseMasterCf(std::string_view text, std::string path,
                                       Diagnostics& diagnostics);
absl::StatusOr<MasterCf> ReadMasterCf(const std::string& path, Diagnostics& diagnostics);

// "25", "smtp", "[::1]:25", "127.0.0.1:submission", "host:25". Errors: InvalidArgument saying which
// part is bad.
absl::StatusOr<InetEndpoint> ParseInetEndpoint(std::string_view text);
// A port by number or name; 0 to 65535.
absl::StatusOr<int> ParsePort(std::string_view text);

// True for delivery agents (smtp, lmtp, virtual, local, error, discard, pipe, ...).
bool IsDeliveryAgent(std::string_view command);

}  // namespace postfleet::config
