#include "commands/queue_repair.h"

#include "commands/direct_queue.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage = "postfleet [-c config_dir] queue repair";

}  // namespace

int RunQueueRepair(const Invocation& call, const std::vector<std::string>& arguments,
                   const Streams& streams) {
  Console console("postfleet", 1, streams);
  if (!arguments.empty()) return console.Usage(kUsage);
  const absl::StatusOr<config::Config> config = LoadQueueConfig(call.config_directory, console);
  if (!config.ok()) return console.Fatal(config.status());
  if (!DirectQueue::IsWanted(*config)) {
    return console.Fatal(
        "the queue can be repaired only while the mail system is down, on the machine where it "
        "lies, by root or its owner");
  }
  std::vector<std::string> repaired;
  const auto queue = DirectQueue::Open(*config, console, &repaired);
  for (const std::string& line : repaired) {
    if (!console.Write(Concat(Showable(line), "\n"))) return console.WriteFailed();
  }
  if (!queue.ok()) return console.Fatal(queue.status());
  if (repaired.empty() && !console.Write("nothing to repair: the queue opens\n")) {
    return console.WriteFailed();
  }
  return console.Finish();
}

}  // namespace postfleet::commands
