#include "services/delivery/privileged/running_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace postfleet::delivery::privileged {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kDefaultPath = "/usr/bin:/bin";
// The child's descriptor for what went wrong before the command ran: behind the standard ones.
constexpr int kReport = 3;

enum class Stage : int { kFork, kChroot, kRights, kChdir, kExec };

struct Trouble {
  Stage stage = Stage::kFork;
  int error_number = 0;
};

const char* NameOf(Stage stage) {
  switch (stage) {
    case Stage::kFork:
      return "fork";
    case Stage::kChroot:
      return "chroot";
    case Stage::kRights:
      return "setuid";
    case Stage::kChdir:
      return "chdir";
    case Stage::kExec:
      return "execvp";
  }
  return "";
}

// Everything that the child needs, made before the fork: behind it only system calls are allowed.
struct Plan {
  std::vector<std::string> paths;  // that argv[0] may mean
  std::vector<char*> argv;
  std::vector<char*> environment;
  const char* chroot = nullptr;
  const char* directory = nullptr;
  uid_t uid = 0;
  gid_t gid = 0;
  bool changes_user = false;
  rlimit open_files = {};
  int input = -1;
  int output = -1;
  int report = -1;
};

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> PathsOf(const ActionRequest& request) {
  const std::string& program = request.argv[0];
  if (program.find('/') != std::string::npos) return {program};
  std::string_view path = kDefaultPath;
  for (const std::string& entry : request.environment) {
    if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
  }
  std::vector<std::string> paths;
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(folder.size() + 1, path.size()));
    if (folder.starts_with('/')) paths.push_back(std::string(folder) + "/" + program);
  }
  return paths;
}

[[noreturn]] void Report(Stage stage, int error_number) {
  const Trouble trouble = {stage, error_number};
  const ssize_t ignored = write(kReport, &trouble, sizeof(trouble));
  _exit(ignored == sizeof(trouble) ? 127 : 126);
}

void RestoreSignals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// All above kReport, so that none overwrites another.
void TakeDescriptors(const Plan& plan) {
  dup2(plan.input, STDIN_FILENO);
  dup2(plan.output, STDOUT_FILENO);
  dup2(plan.output, STDERR_FILENO);
  dup2(plan.report, kReport);
  fcntl(kReport, F_SETFD, FD_CLOEXEC);
  close_range(kReport + 1, ~0U, 0);
}

// In a tree that somebody but root can fill, a set-uid program would run with libraries and
// accounts of that somebody's making.
void EnterChroot(const char* path) {
  struct stat root = {};
  if (chroot(path) != 0 || chdir("/") != 0 || stat("/", &root) != 0) {
    Report(Stage::kChroot, errno);
  }
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
  if ((root.st_uid != 0 || (root.st_mode & kOthersWrite) != 0) &&
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    Report(Stage::kChroot, errno);
  }
}

void TakeRights(const Plan& plan) {
  if (!plan.changes_user) return;
  // The raw calls: this process has one thread.
  if (syscall(SYS_setgroups, size_t{1}, &plan.gid) != 0 ||
      syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) != 0 ||
      syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) != 0) {
    Report(Stage::kRights, errno);
  }
  if (syscall(SYS_setresuid, uid_t(-1), uid_t(0), uid_t(-1)) == 0) Report(Stage::kRights, EPERM);
}

[[noreturn]] void RunChild(const Plan& plan) {
  TakeDescriptors(plan);
  RestoreSignals();
  setrlimit(RLIMIT_NOFILE, &plan.open_files);
  umask(077);
  setsid();
  if (plan.chroot != nullptr) EnterChroot(plan.chroot);
  TakeRights(plan);
  if (plan.directory != nullptr && chdir(plan.directory) != 0) Report(Stage::kChdir, errno);
  // After the change of user, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int error_number = ENOENT;
  for (const std::string& path : plan.paths) {
    execve(path.c_str(), plan.argv.data(), plan.environment.data());
    if (errno != ENOENT && errno != ENOTDIR) error_number = errno;
  }
  Report(Stage::kExec, error_number);
}

void CloseAll(std::initializer_list<int*> descriptors) {
  for (int* descriptor : descriptors) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
  }
}

// Numbered above all that the child takes.
bool MakePipe(int* read_end, int* write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  *read_end = fcntl(ends[0], F_DUPFD_CLOEXEC, kReport + 1);
  *write_end = fcntl(ends[1], F_DUPFD_CLOEXEC, kReport + 1);
  const int error_number = errno;
  close(ends[0]);
  close(ends[1]);
  errno = error_number;
  return *read_end >= 0 && *write_end >= 0;
}

// Until the child has said what went wrong or, by the pipe's end, that the command runs. Else why
// it is waited for no longer.
std::optional<ActionCode> AwaitReport(int report, int server, steady_clock::time_point deadline,
                                      Trouble* trouble) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return ActionCode::kTimedOut;
    struct pollfd watched[] = {{.fd = report, .events = POLLIN, .revents = 0},
                               {.fd = server, .events = POLLRDHUP, .revents = 0}};
    if (poll(watched, 2, static_cast<int>(std::min<int64_t>(left, 1'000'000))) < 0) continue;
    if (watched[0].revents != 0) {
      if (read(report, trouble, sizeof(*trouble)) != sizeof(*trouble)) trouble->error_number = 0;
      return std::nullopt;
    }
    if (watched[1].revents != 0) return ActionCode::kAbandoned;
  }
}

void DoNotBlock(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

RunningCommand::~RunningCommand() {
  CloseInput();
  CloseOutput();
  if (pid_ > 0) {
    Kill();
    ActionAnswer ignored;
    Wait(&ignored);
  }
  if (pidfd_ >= 0) close(pidfd_);
}

bool RunningCommand::Start(const ActionRequest& request, int server,
                           steady_clock::time_point deadline, ActionAnswer* failure) {
  Plan plan;
  plan.paths = PathsOf(request);
  plan.argv = Pointers(request.argv);
  plan.environment = Pointers(request.environment);
  if (!request.chroot.empty()) plan.chroot = request.chroot.c_str();
  if (!request.path.empty()) plan.directory = request.path.c_str();
  plan.uid = request.uid;
  plan.gid = request.gid;
  plan.changes_user = getuid() == 0;
  plan.open_files = open_files_;
  Trouble trouble;
  int report = -1;
  if (!MakePipe(&plan.input, &input_) || !MakePipe(&output_, &plan.output) ||
      !MakePipe(&report, &plan.report)) {
    trouble.error_number = errno;
  } else {
    pid_ = fork();
    if (pid_ == 0) RunChild(plan);
    if (pid_ < 0) trouble.error_number = errno;
  }
  CloseAll({&plan.input, &plan.output, &plan.report});
  if (pid_ > 0) {
    const std::optional<ActionCode> given_up = AwaitReport(report, server, deadline, &trouble);
    if (given_up) {
      close(report);
      failure->code = *given_up;
      return false;
    }
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (trouble.error_number == 0 && pidfd_ < 0) trouble.error_number = errno;
  }
  CloseAll({&report});
  if (trouble.error_number != 0) {
    failure->code = ActionCode::kFailed;
    failure->error_number = trouble.error_number;
    failure->text = NameOf(trouble.stage);
    return false;
  }
  DoNotBlock(input_);
  DoNotBlock(output_);
  return true;
}

void RunningCommand::CloseInput() { CloseAll({&input_}); }
void RunningCommand::CloseOutput() { CloseAll({&output_}); }

void RunningCommand::Kill() {
  // Its session is its group; before setsid() there is nothing but itself.
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
}

void RunningCommand::Wait(ActionAnswer* answer) {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFSIGNALED(status)) {
    answer->code = ActionCode::kSignalled;
    answer->value = WTERMSIG(status);
  } else {
    answer->code = ActionCode::kExited;
    answer->value = WEXITSTATUS(status);
  }
}

}  // namespace postfleet::delivery::privileged
