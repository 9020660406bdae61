#include "commands/cluster_recover.h"

#include <unistd.h>

#include <random>

#include "absl/time/time.h"
#include "commands/direct_queue.h"
#include "commands/queue_report.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/config/cluster_members.h"
#include "libs/server/instance.h"
#include "services/queue/recover.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kWord = "--lose-what-others-have";
constexpr std::string_view kUsage =
    "postfleet [-c config_dir] cluster recover --lose-what-others-have";

std::string TimeOf(int64_t ms) {
  return ms == 0 ? std::string("never")
                 : absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(ms),
                                    absl::LocalTimeZone());
}

std::string ReportOf(const queue::RecoveredGroup& group) {
  std::string others;
  for (const std::string& name : group.others) ConcatTo(&others, others.empty() ? "" : ", ", name);
  return Concat(
      group.name, " is the only replica now, of a new cluster. It has the queue up to entry ",
      group.last_index, ", written ", TimeOf(group.last_ms), ": ", group.messages,
      " messages.\nWhat was accepted, delivered or deleted after that is not known to it: mail "
      "may be missing, or be delivered again; the mail log tells which.\n",
      others.empty() ? std::string()
                     : Concat("Before ", others,
                              " start again, empty their queue_directory: with what they have now "
                              "they are refused.\n"));
}

}  // namespace

int RunClusterRecover(const Invocation& call, const std::vector<std::string>& arguments,
                      const Streams& streams) {
  Console console("postfleet", 1, streams);
  if (arguments != std::vector<std::string>{std::string(kWord)}) return console.Usage(kUsage);
  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      call.config_directory, {"queue_directory", "postfleet_cluster_members"});
  if (!config.ok()) return console.Fatal(config.status());
  if (!MayAdminister(*config, geteuid())) {
    return console.Fatal("use of this command is reserved for the superuser");
  }
  const auto server = FindServer(ServerLockPath(*config, "postfleet-queued"));
  if (!server.ok()) return console.Fatal(server.status());
  if (server->has_value()) {
    return console.Fatal("the queue's server runs: stop it first");
  }
  const std::string folder = Concat(config->GetString("queue_directory"), server::kOwnFolder);
  if (absl::Status became = BecomeQueueOwner(folder); !became.ok()) return console.Fatal(became);
  std::random_device random;
  const auto recovered = queue::RecoverGroup(folder, (uint64_t{random()} << 32 | random()) | 1);
  if (!recovered.ok()) return console.Fatal(recovered.status());
  return console.Write(ReportOf(*recovered)) ? console.Finish() : console.WriteFailed();
}

}  // namespace postfleet::commands
