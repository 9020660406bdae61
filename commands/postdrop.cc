#include "commands/postdrop.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "commands/console.h"
#include "commands/options.h"
#include "commands/postdrop_rights.h"
#include "libs/base/concat.h"
#include "libs/maildrop/files.h"
#include "libs/maildrop/submission.h"

namespace postfleet::commands {
namespace {

constexpr const char* kDefaultDirectory = "/etc/postfix";
constexpr std::string_view kUsage = "postdrop [-c config_dir] [-v]";
constexpr int kReadBytes = 64 * 1024;

// What a signal's handler removes.
volatile sig_atomic_t g_has_file = 0;
char g_file[4096];

extern "C" void OnSignal(int signal) {
  if (g_has_file != 0) unlink(g_file);
  _exit(128 + signal);
}

void CatchSignals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) {
    struct sigaction old;
    // What is ignored stays so (nohup).
    if (sigaction(number, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    sigfillset(&action.sa_mask);
    sigaction(number, &action, nullptr);
  }
}

void CloseDescriptors() {
  OpenStandardDescriptors();
  close_range(STDERR_FILENO + 1, ~0u, 0);
}

using Environment = std::vector<std::pair<std::string, std::string>>;

Environment TakeEnvironment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos)
      variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  clearenv();
  return variables;
}

std::optional<std::string> Find(const Environment& variables, std::string_view name) {
  for (const auto& [key, value] : variables) {
    if (key == name) return value;
  }
  return std::nullopt;
}

// import_environment: names, and values of our own.
void ImportEnvironment(const config::Config& config, const Environment& variables) {
  for (const std::string& item : config.GetList("import_environment")) {
    const size_t equals = item.find('=');
    const std::string name = item.substr(0, equals);
    if (equals != item.npos) {
      setenv(name.c_str(), item.c_str() + equals + 1, 1);
    } else if (const std::optional<std::string> value = Find(variables, name)) {
      setenv(name.c_str(), value->c_str(), 1);
    }
  }
}

bool HasPowers() { return geteuid() != getuid() || getegid() != getgid(); }

// The powers are for the mail systems that root has named.
absl::Status CheckDirectory(const std::string& directory, Console& console) {
  if (directory == kDefaultDirectory || !HasPowers() || getuid() == 0) return absl::OkStatus();
  constexpr const char* kLists[] = {"alternate_config_directories", "multi_instance_directories"};
  const absl::StatusOr<config::Config> config =
      console.LoadUnchecked(kDefaultDirectory, {kLists[0], kLists[1]});
  if (!config.ok()) return config.status();
  for (const char* list : kLists) {
    const std::vector<std::string> named = config->GetList(list);
    if (std::find(named.begin(), named.end(), directory) != named.end()) return absl::OkStatus();
  }
  console.Error(Concat("unauthorized configuration directory name: ", directory));
  return absl::PermissionDeniedError(Concat("specify \"", kLists[0], " = ", directory, "\" or \"",
                                            kLists[1], " = ", directory, "\" in ",
                                            kDefaultDirectory, "/main.cf"));
}

struct Request {
  std::string directory;
  bool verbose = false;
};

// nullopt: it was said what is wrong.
std::optional<Request> ReadArguments(const std::vector<std::string>& arguments,
                                     const Environment& variables, Console& console) {
  Request request;
  request.directory = Find(variables, "MAIL_CONFIG").value_or(kDefaultDirectory);
  const absl::StatusOr<CommandLine> line = ParseOptions(arguments, "c:rv");
  if (!line.ok() || !line->operands.empty()) {
    console.Usage(kUsage, line.status());
    return std::nullopt;
  }
  for (const Option& option : line->options) {
    if (option.letter == 'c') request.directory = option.argument;
  }
  return request;
}

void TellParent(std::string_view line) {
  const std::string text = Concat(line, "\n");
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) return;
}

class Drop {
 public:
  Drop(maildrop::NewFile file, AllowedSenders senders, uint64_t bytes_max, Console& console)
      : file_(std::move(file)),
        senders_(std::move(senders)),
        bytes_max_(bytes_max),
        console_(console),
        who_(Concat("uid=", getuid(), ": ")) {}

  // The exit status.
  int Run() {
    const int64_t now_us = SystemClock().WallMicros();
    absl::Status status =
        Append(maildrop::kTime, Concat(now_us / 1'000'000, " ", now_us % 1'000'000));
    char bytes[kReadBytes];
    while (status.ok() && !order_.done()) {
      const ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes));
      if (size < 0 && errno == EINTR) continue;
      // Who writes has gone, or has changed his mind, and has said why.
      if (size <= 0) return 1;
      status = Take({bytes, static_cast<size_t>(size)});
    }
    if (status.ok()) status = file_.Commit();
    if (status.ok()) return 0;
    return Failed(status);
  }

 private:
  absl::Status Append(maildrop::RecordType type, std::string_view data) {
    record_.clear();
    maildrop::AppendRecord(type, data, &record_);
    return file_.Append(record_, bytes_max_);
  }

  absl::Status Take(std::string_view bytes) {
    using maildrop::RecordReader;
    reader_.Feed(bytes);
    absl::Status status;
    while (status.ok() && !order_.done()) {
      const RecordReader::Result result = reader_.Next();
      if (result == RecordReader::kNeedMore) break;
      if (result == RecordReader::kBroken) return absl::InvalidArgumentError("malformed input");
      status = TakeRecord(reader_.type(), reader_.data());
    }
    return status;
  }

  absl::Status TakeRecord(char type, std::string_view data) {
    if (absl::Status expected = order_.Accept(type); !expected.ok()) return expected;
    // The time is ours.
    if (type == maildrop::kTime) return absl::OkStatus();
    if (type == maildrop::kAttribute && !maildrop::IsKnownAttribute(data)) {
      console_.Warn(Concat(who_, "ignoring attribute record: ", Shown(data)));
      return absl::OkStatus();
    }
    if (type == maildrop::kSender) {
      if (absl::Status allowed = senders_.Check(data); !allowed.ok()) return allowed;
    }
    return Append(static_cast<maildrop::RecordType>(type), data);
  }

  // A line for terminals and logs.
  static std::string Shown(std::string_view data) {
    constexpr size_t kShownMax = 100;
    std::string shown(data.substr(0, kShownMax));
    for (char& c : shown) {
      if (c < ' ' || c > '~') c = '?';
    }
    return shown;
  }

  int Failed(const absl::Status& status) {
    const std::string text(status.message());
    if (absl::IsOutOfRange(status)) {
      console_.Warn(Concat(who_, text));
      return kPostdropTooBig;
    }
    if (absl::IsPermissionDenied(status)) {
      // For who called: it knows the sender's name for it.
      TellParent(Concat("refused ", Shown(text)));
      return 1;
    }
    console_.Fatal(Concat(who_, text));
    return 1;
  }

  maildrop::NewFile file_;
  const AllowedSenders senders_;
  const uint64_t bytes_max_;
  Console& console_;
  const std::string who_;
  maildrop::RecordReader reader_;
  maildrop::RecordOrder order_;
  std::string record_;
};

// What an administrator has to do.
std::string HowToMend(const std::string& folder, const config::Config& config, bool missing) {
  if (missing) {
    return Concat("; the mail system has not been started yet, or queue_directory in ",
                  config.directory(), "/main.cf is wrong");
  }
  const std::string group = config.GetString("setgid_group");
  return Concat("; this program needs the group of ", folder, ": as root, `chgrp ", group,
                "` and `chmod 2555` it (`postfix set-permissions` does so)");
}

int DropMail(const config::Config& config, Console& console) {
  if (absl::Status may = CheckSubmitter(config, getuid()); !may.ok()) return console.Fatal(may);
  absl::StatusOr<AllowedSenders> senders = AllowedSenders::Open(config, getuid());
  if (!senders.ok()) return console.Fatal(senders.status());
  const std::string folder = Concat(config.GetString("queue_directory"), maildrop::kFolder);
  absl::StatusOr<maildrop::NewFile> file = maildrop::NewFile::Create(folder, SystemClock());
  if (!file.ok()) {
    const bool missing = absl::IsNotFound(file.status());
    const std::string text(file.status().message());
    const bool mendable = missing || absl::IsPermissionDenied(file.status());
    console.Fatal(Concat(text, mendable ? HowToMend(folder, config, missing) : ""));
    return mendable ? kPostdropNoRights : 1;
  }
  // From here on signals remove it; one that comes between leaves an unfinished file, which pickup
  // removes some day.
  if (file->path().size() < sizeof(g_file)) {
    std::memcpy(g_file, file->path().c_str(), file->path().size() + 1);
    g_has_file = 1;
  }
  TellParent(file->name());
  const auto bytes_max = static_cast<uint64_t>(config.GetSize("message_size_limit"));
  Drop drop(*std::move(file), *std::move(senders), bytes_max, console);
  const int status = drop.Run();
  if (status == 0) {
    g_has_file = 0;
    TellParent("ok");
  }
  return status;
}

}  // namespace

void OpenStandardDescriptors() {
  while (true) {
    const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) _exit(1);
    if (fd > STDERR_FILENO) {
      close(fd);
      return;
    }
    fcntl(fd, F_SETFD, 0);
  }
}

int RunPostdrop(const std::vector<std::string>& arguments) {
  CloseDescriptors();
  CatchSignals();
  umask(022);
  const Environment variables = TakeEnvironment();
  Console console("postdrop", 1, {});
  const std::optional<Request> request = ReadArguments(arguments, variables, console);
  if (!request) return 1;
  if (absl::Status may = CheckDirectory(request->directory, console); !may.ok()) {
    return console.Fatal(may);
  }
  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      request->directory, {"queue_directory", "message_size_limit", "authorized_submit_users",
                           "local_login_sender_maps", "import_environment"});
  if (!config.ok()) return console.Fatal(config.status());
  ImportEnvironment(*config, variables);
  console.LogTo(*config, "postdrop");
  return DropMail(*config, console);
}

}  // namespace postfleet::commands
