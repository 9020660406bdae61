#include "commands/postsuper.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "commands/options.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postsuper [-c config_dir] -d queue_id (delete) [queue...]; not supported yet: -e queue_id "
    "(expire), -f queue_id (expire and/or un-hold), -h queue_id (hold), -H queue_id (un-hold), -p "
    "(purge temporary files), -r queue_id (requeue), -s (structure fix), -S (redundant structure "
    "fix), -v (verbose)";

using queue::v1::QueueName;

std::optional<QueueName> ParseQueueName(std::string_view text) {
  for (QueueName name : {queue::v1::QUEUE_NAME_INCOMING, queue::v1::QUEUE_NAME_ACTIVE,
                         queue::v1::QUEUE_NAME_DEFERRED, queue::v1::QUEUE_NAME_HOLD}) {
    if (QueueNameText(name) == text) return name;
  }
  return std::nullopt;
}

// One run of the command. Functions return false when the run has to end; `status` says why.
struct Deletion {
  QueueClient client;
  Console& console;
  std::set<QueueName> queues;  // empty: all
  uint64_t deleted = 0;
  absl::Status status;

  bool Wanted(const queue::v1::ListedMessage& message) const {
    return queues.empty() || queues.contains(message.queue());
  }

  bool Delete(const std::vector<std::string>& queue_ids, bool say_each) {
    if (queue_ids.empty()) return true;
    const absl::StatusOr<std::vector<std::string>> gone = client.Delete(queue_ids);
    if (!gone.ok()) {
      status = gone.status();
      return false;
    }
    deleted += gone->size();
    if (!say_each) return true;
    for (const std::string& queue_id : *gone) console.Say(Concat(queue_id, ": removed"));
    return true;
  }

  // The page after `request`'s cursor, as the ids of messages in the wanted queues.
  std::optional<std::vector<std::string>> ListPage(queue::v1::ListRequest* request, bool* more) {
    const absl::StatusOr<queue::v1::ListResponse> page = client.List(*request);
    if (!page.ok()) {
      status = page.status();
      return std::nullopt;
    }
    *more = page->more() && !page->messages().empty();
    if (*more) request->set_after_queue_id(page->messages().rbegin()->queue_id());
    std::vector<std::string> queue_ids;
    for (const queue::v1::ListedMessage& message : page->messages()) {
      if (Wanted(message)) queue_ids.push_back(message.queue_id());
    }
    return queue_ids;
  }

  bool DeleteListed(queue::v1::ListRequest request, bool say_each) {
    for (bool more = true; more;) {
      const std::optional<std::vector<std::string>> queue_ids = ListPage(&request, &more);
      if (!queue_ids || !Delete(*queue_ids, say_each)) return false;
    }
    return true;
  }

  // At most kCallIdsMax.
  bool DeleteNamed(const std::vector<std::string>& queue_ids) {
    if (queue_ids.empty() || queues.empty()) return Delete(queue_ids, true);
    queue::v1::ListRequest request;
    *request.mutable_queue_ids() = {queue_ids.begin(), queue_ids.end()};
    return DeleteListed(std::move(request), true);
  }

  bool CheckId(const std::string& queue_id) {
    if (IsQueueId(queue_id)) return true;
    console.Warn(Concat("invalid mail queue id: ", Showable(queue_id)));
    return false;
  }

  bool DeleteRead(FILE* in) {
    std::vector<std::string> queue_ids;
    char* line = nullptr;
    size_t capacity = 0;
    ssize_t size;
    bool going = true;
    while (going && (size = getline(&line, &capacity, in)) >= 0) {
      std::string_view text(line, static_cast<size_t>(size));
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
      if (CheckId(std::string(text))) queue_ids.emplace_back(text);
      if (queue_ids.size() < kCallIdsMax) continue;
      going = DeleteNamed(queue_ids);
      queue_ids.clear();
    }
    free(line);
    return going && DeleteNamed(queue_ids);
  }

  bool Run(const std::vector<std::string>& targets, FILE* in) {
    if (std::find(targets.begin(), targets.end(), "ALL") != targets.end()) {
      return DeleteListed({}, false);
    }
    std::vector<std::string> queue_ids;
    for (const std::string& target : targets) {
      if (target == "-") {
        if (!DeleteRead(in)) return false;
      } else if (CheckId(target)) {
        queue_ids.push_back(target);
      }
      if (queue_ids.size() < kCallIdsMax) continue;
      if (!DeleteNamed(queue_ids)) return false;
      queue_ids.clear();
    }
    return DeleteNamed(queue_ids);
  }
};

}  // namespace

int RunPostsuper(const Invocation& call, const Streams& streams) {
  Console console("postsuper", 1, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "c:d:e:f:h:H:pr:sSv");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  std::string directory = call.config_directory;
  std::vector<std::string> targets;
  for (const Option& option : line->options) {
    if (option.letter == 'c') {
      directory = option.argument;
    } else if (option.letter == 'd') {
      targets.push_back(option.argument);
    } else {
      return console.NotSupported(Concat("option -", option.letter));
    }
  }
  // Postfix checks its queue's structure then, which is -s and -p.
  if (targets.empty()) return console.NotSupported("no options (-s -p)");
  std::set<QueueName> queues;
  for (const std::string& operand : line->operands) {
    const std::optional<QueueName> name = ParseQueueName(operand);
    if (!name) return console.Fatal(Concat("invalid directory name: ", operand));
    queues.insert(*name);
  }

  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      directory,
      {"queue_directory", "postfleet_control_socket", "postfleet_queue_address", "maillog_file"});
  if (!config.ok()) return console.Fatal(config.status());
  if (!MayAdminister(*config, geteuid())) {
    return console.Fatal("use of this command is reserved for the superuser");
  }
  console.LogTo(*config, "postsuper");
  absl::StatusOr<QueueClient> client = QueueClient::At(*config, QueuePower::kEverything);
  if (!client.ok()) return console.Fatal(client.status());
  Deletion deletion = {*std::move(client), console, std::move(queues)};
  const bool done = deletion.Run(targets, streams.in);
  if (done || deletion.deleted > 0) {
    console.Say(
        Concat("Deleted: ", deletion.deleted, deletion.deleted == 1 ? " message" : " messages"));
  }
  if (done) return 0;
  const std::string reason(deletion.status.message());
  return console.Fatal(Concat("Cannot delete mail - ", reason));
}

}  // namespace postfleet::commands
