#include "commands/queue_command.h"

#include "commands/options.h"
#include "commands/print_queue.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_jobs.h"
#include "commands/queue_repair.h"
#include "commands/queue_report.h"
#include "commands/queue_verify.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kUsage =
    "postfleet [-c config_dir] queue list [-j] [queue...] | queue jobs | queue verify | "
    "queue repair";
constexpr std::string_view kReport = "Queue report unavailable";

int Print(QueueClient& client, Console& console, const std::vector<v1::QueueName>& queues,
          bool json) {
  if (json) {
    const int status = PrintQueue(client, console, kReport, queues, QueueJsonLine);
    return status == 0 ? console.Finish() : status;
  }
  QueueTable table(absl::LocalTimeZone());
  const int status =
      PrintQueue(client, console, kReport, queues,
                 [&](const v1::ListedMessage& message) { return table.Add(message); });
  if (status != 0) return status;
  return console.Write(table.End()) ? console.Finish() : console.WriteFailed();
}

int RunQueueList(const Invocation& call, const std::vector<std::string>& arguments,
                 const Streams& streams) {
  Console console("postfleet", 1, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(arguments, "j");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  std::vector<v1::QueueName> queues;
  for (const std::string& operand : line->operands) {
    const std::optional<v1::QueueName> name = ParseQueueName(operand);
    if (!name) return console.Fatal(Concat("no such queue: ", Showable(operand)));
    queues.push_back(*name);
  }
  absl::StatusOr<QueueClient> client =
      QueueClient::Open(call.config_directory, QueuePower::kListAndFlush, console);
  if (!client.ok()) return console.Fatal(client.status());
  return Print(*client, console, queues, !line->options.empty());
}

}  // namespace

int RunQueue(const Invocation& call, const Streams& streams) {
  const std::string verb = call.arguments.empty() ? "" : call.arguments[0];
  const std::vector<std::string> rest(call.arguments.begin() + (verb.empty() ? 0 : 1),
                                      call.arguments.end());
  if (verb == "list") return RunQueueList(call, rest, streams);
  if (verb == "jobs") return RunQueueJobs(call, rest, streams);
  if (verb == "repair") return RunQueueRepair(call, rest, streams);
  if (verb == "verify") return RunQueueVerify(call, rest, streams);
  Console console("postfleet", 1, streams);
  return console.Usage(kUsage);
}

}  // namespace postfleet::commands
