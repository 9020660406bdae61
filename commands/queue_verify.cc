#include "commands/queue_verify.h"

#include <filesystem>

#include "commands/progress_line.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "services/queue/verify/verify.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kUsage = "postfleet [-c config_dir] queue verify [--offline data_dir]";
constexpr std::string_view kOffline = "--offline";
// Of queue_directory, the data folder, and in it the queue's state.
constexpr std::string_view kDataFolder = "postfleet";
constexpr std::string_view kStateFolder = "state";

// What is told while it goes on, and what it comes to.
class Report {
 public:
  Report(Console& console, ProgressLine& progress) : console_(console), progress_(progress) {}

  void Take(const v1::VerifyProgress& part) {
    if (!part.findings().empty()) progress_.Clear();
    for (const std::string& finding : part.findings()) {
      written_ = written_ && console_.Write(Concat(Showable(finding), "\n"));
    }
    last_ = part;
    last_.clear_findings();
    progress_.Show(Concat(last_.messages(), " messages, ", last_.bytes() >> 20, " MiB"));
  }

  bool written() const { return written_; }

  // The exit status.
  int End() {
    progress_.Clear();
    written_ = written_ && console_.Write(Concat("checked: ", last_.messages(), " messages, ",
                                                 last_.recipients(), " recipients, ",
                                                 last_.chunks(), " chunks, ", last_.bytes(),
                                                 " bytes; faults: ", last_.findings_total(), "\n"));
    if (!written_) return console_.WriteFailed();
    const int finished = console_.Finish();
    return last_.findings_total() > 0 ? 1 : finished;
  }

 private:
  Console& console_;
  ProgressLine& progress_;
  v1::VerifyProgress last_;
  bool written_ = true;
};

int VerifyOnline(const Invocation& call, Console& console, ProgressLine& progress) {
  const absl::StatusOr<config::Config> config = LoadQueueConfig(call.config_directory, console);
  if (!config.ok()) return console.Fatal(config.status());
  absl::StatusOr<QueueClient> client = QueueClient::At(*config, QueuePower::kEverything);
  if (!client.ok()) return console.Fatal(client.status());
  Report report(console, progress);
  const absl::Status verified =
      client->Verify([&](const v1::VerifyProgress& part) { report.Take(part); });
  if (verified.ok()) return report.End();
  progress.Clear();
  return CallFailed(console, "Cannot verify the queue", verified);
}

// `path` is the data folder, or the queue_directory that it lies in.
std::string DataFolder(const std::string& path) {
  std::error_code unread;
  const std::filesystem::path inner = std::filesystem::path(path) / kDataFolder;
  if (std::filesystem::exists(std::filesystem::path(path) / kStateFolder, unread) ||
      !std::filesystem::exists(inner / kStateFolder, unread)) {
    return path;
  }
  return inner.string();
}

int VerifyOffline(const std::string& path, Console& console, ProgressLine& progress) {
  Report report(console, progress);
  const absl::StatusOr<queue::FolderVerified> verified =
      queue::VerifyFolder(DataFolder(path), [&](const v1::VerifyProgress& part) {
        report.Take(part);
        return report.written();
      });
  progress.Clear();
  if (!report.written()) return console.WriteFailed();
  if (!verified.ok()) return CallFailed(console, "Cannot verify the queue", verified.status());
  if (!console.Write(Concat("log: ", Showable(verified->replay), "\n"))) {
    return console.WriteFailed();
  }
  const int status = report.End();
  return verified->replayable ? status : 1;
}

}  // namespace

int RunQueueVerify(const Invocation& call, const std::vector<std::string>& arguments,
                   const Streams& streams) {
  Console console("postfleet", 1, streams);
  ProgressLine progress("postfleet", streams.err);
  if (arguments.empty()) return VerifyOnline(call, console, progress);
  if (arguments.size() != 2 || arguments[0] != kOffline) return console.Usage(kUsage);
  return VerifyOffline(arguments[1], console, progress);
}

}  // namespace postfleet::commands
