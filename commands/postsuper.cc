#include "commands/postsuper.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "commands/administration.h"
#include "commands/options.h"
#include "commands/queue_address.h"
#include "commands/queue_report.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire "
    "and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] "
    "[-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v (verbose)] "
    "[--dry-run] [queue...]";
constexpr std::string_view kDryRun = "--dry-run";

struct Wishes {
  std::string config_directory;
  std::vector<Option> steps;  // of "rdefhH"
  WantedQueues queues;
  bool maildrop = true;  // is among them
  bool check_structure = false;
  bool dry_run = false;
  bool verbose = false;
};

absl::StatusOr<WantedQueues> ParseQueues(const std::vector<std::string>& operands) {
  if (operands.empty()) return WantedQueues();
  std::set<queue::v1::QueueName> queues;
  for (const std::string& operand : operands) {
    if (const auto name = ParseQueueName(operand)) {
      queues.insert(*name);
    } else if (!IsEmptyQueueName(operand)) {
      return absl::InvalidArgumentError(Concat("invalid directory name: ", Showable(operand)));
    }
  }
  return WantedQueues(std::move(queues));
}

void TakeOptions(const CommandLine& line, Wishes* wishes) {
  for (const Option& option : line.options) {
    switch (option.letter) {
      case 'c':
        wishes->config_directory = option.argument;
        break;
      case 'v':
        wishes->verbose = true;
        break;
      case 'p':
      case 's':
      case 'S':
        wishes->check_structure = true;
        break;
      default:
        wishes->steps.push_back(option);
    }
  }
  if (wishes->steps.empty()) wishes->check_structure = true;
}

std::string Messages(uint64_t count) {
  return Concat(count, count == 1 ? " message" : " messages");
}

void SayTotals(Console& console, const Administration& administration, bool done, bool dry_run) {
  for (size_t row = 0; row < kActions.size(); ++row) {
    const std::optional<uint64_t> count = administration.CountOfAction(row);
    if (!count || (!done && *count == 0)) continue;
    console.Say(dry_run ? Concat("Would be ", kActions[row].would, ": ", Messages(*count))
                        : Concat(kActions[row].counted, ": ", Messages(*count)));
  }
  if (administration.freed_bytes() > 0) {
    console.Say(Concat("Freed: ", administration.freed_bytes() / 1024, " Kbytes of disk space"));
  }
}

bool DoSteps(const Wishes& wishes, Administration& administration, FILE* in) {
  for (const Option& step : wishes.steps) {
    if (!administration.Step(step.letter, step.argument, in)) return false;
  }
  return administration.Finish();
}

int Administer(const Wishes& wishes, const config::Config& config, QueueClient client,
               Console& console, const Streams& streams) {
  ProgressLine progress("postsuper", streams.err);
  WaitingMail maildrop(config);
  Administration administration(std::move(client), console, progress, wishes.queues, wishes.dry_run,
                                wishes.verbose, wishes.maildrop ? &maildrop : nullptr);
  const bool done = DoSteps(wishes, administration, streams.in);
  SayTotals(console, administration, done, wishes.dry_run);
  if (done) return 0;
  return CallFailed(console, Concat("Cannot ", kActions[administration.failed_row()].wish, " mail"),
                    administration.status());
}

}  // namespace

int RunPostsuper(const Invocation& call, const Streams& streams) {
  Console console("postsuper", 1, streams);
  Wishes wishes = {.config_directory = call.config_directory};
  std::vector<std::string> arguments = call.arguments;
  wishes.dry_run = std::erase(arguments, kDryRun) > 0;
  const absl::StatusOr<CommandLine> line = ParseOptions(arguments, "c:d:e:f:h:H:pr:sSv");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  TakeOptions(*line, &wishes);

  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      wishes.config_directory,
      {"queue_directory", "postfleet_cluster_members", "postfleet_control_socket",
       "postfleet_queue_address", "maillog_file"});
  if (!config.ok()) return console.Fatal(config.status());
  if (!MayAdminister(*config, geteuid())) {
    return console.Fatal("use of this command is reserved for the superuser");
  }
  console.LogTo(*config, "postsuper");
  absl::StatusOr<WantedQueues> queues = ParseQueues(line->operands);
  if (!queues.ok()) return console.Fatal(queues.status());
  wishes.queues = *std::move(queues);
  wishes.maildrop =
      line->operands.empty() ||
      std::find(line->operands.begin(), line->operands.end(), "maildrop") != line->operands.end();
  if (wishes.check_structure) {
    console.Say("no queue files to repair or purge; `postfleet queue verify` checks the queue");
  }
  if (wishes.steps.empty()) return 0;
  absl::StatusOr<QueueClient> client =
      QueueClient::AtOrDirect(*config, QueuePower::kEverything, console);
  if (!client.ok()) return console.Fatal(client.status());
  return Administer(wishes, *config, *std::move(client), console, streams);
}

}  // namespace postfleet::commands
