#include "commands/postqueue.h"

#include <sysexits.h>

#include "commands/options.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p; not supported yet: -s "
    "site, "
    "-v";
constexpr std::string_view kMailqUsage = "mailq [-C config_dir]";

// Postfix's words, whatever the reason.
int Failed(Console& console, std::string_view what, const absl::Status& status) {
  const std::string reason(status.message());
  return console.Fatal(Concat(what, " - ", reason));
}

// Calls `print` with each message, page by page; `print` returns false when it cannot write.
template <typename Print>
int PrintAll(QueueClient& client, Console& console, Print print) {
  queue::v1::ListRequest request;
  while (true) {
    const absl::StatusOr<queue::v1::ListResponse> page = client.List(request);
    if (!page.ok()) return Failed(console, "Queue report unavailable", page.status());
    for (const queue::v1::ListedMessage& message : page->messages()) {
      if (!print(message)) return console.WriteFailed();
    }
    // A page without messages would repeat for ever.
    if (!page->more() || page->messages().empty()) return EX_OK;
    request.set_after_queue_id(page->messages().rbegin()->queue_id());
  }
}

int PrintTable(QueueClient& client, Console& console) {
  QueueTable table(absl::LocalTimeZone());
  const int status = PrintAll(client, console, [&](const queue::v1::ListedMessage& message) {
    return console.Write(table.Add(message));
  });
  if (status != EX_OK) return status;
  return console.Write(table.End()) ? console.Finish() : console.WriteFailed();
}

int PrintJson(QueueClient& client, Console& console) {
  const int status = PrintAll(client, console, [&](const queue::v1::ListedMessage& message) {
    return console.Write(QueueJsonLine(message));
  });
  return status == EX_OK ? console.Finish() : status;
}

int Flush(QueueClient& client, Console& console, const std::vector<std::string>& queue_ids) {
  const auto missing = client.Flush(queue_ids);
  if (!missing.ok()) return Failed(console, "Cannot flush mail queue", missing.status());
  for (const std::string& queue_id : *missing) {
    console.Warn(Concat("no message with queue ID ", queue_id));
  }
  return EX_OK;
}

}  // namespace

int RunPostqueue(const Invocation& call, const Streams& streams) {
  Console console("postqueue", EX_UNAVAILABLE, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "c:fi:jps:v");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  std::string directory = call.config_directory;
  const Option* mode = nullptr;
  for (const Option& option : line->options) {
    if (option.letter == 'c') {
      directory = option.argument;
    } else if (option.letter == 's' || option.letter == 'v') {
      return console.NotSupported(Concat("option -", option.letter));
    } else if (mode != nullptr) {
      return console.Usage(kUsage);
    } else {
      mode = &option;
    }
  }
  if (mode == nullptr || !line->operands.empty()) return console.Usage(kUsage);
  if (mode->letter == 'i' && !IsQueueId(mode->argument)) {
    return console.Fatal(Concat("Cannot flush queue ID - invalid name: \"", mode->argument, "\""));
  }

  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      directory, {"queue_directory", "postfleet_control_socket", "postfleet_queue_address"});
  if (!config.ok()) return console.Fatal(config.status());
  absl::StatusOr<QueueClient> client = QueueClient::At(*config, QueuePower::kListAndFlush);
  if (!client.ok()) return console.Fatal(client.status());
  switch (mode->letter) {
    case 'p':
      return PrintTable(*client, console);
    case 'j':
      return PrintJson(*client, console);
    case 'i':
      return Flush(*client, console, {mode->argument});
    default:
      return Flush(*client, console, {});
  }
}

int RunMailq(const Invocation& call, const Streams& streams) {
  Console console("mailq", EX_UNAVAILABLE, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "C:v");
  if (!line.ok()) return console.Usage(kMailqUsage, line.status());
  Invocation postqueue = {"postqueue", call.config_directory, {"-p"}};
  for (const Option& option : line->options) {
    if (option.letter == 'v') return console.NotSupported("option -v");
    postqueue.config_directory = option.argument;
  }
  if (!line->operands.empty()) return console.Usage(kMailqUsage);
  return RunPostqueue(postqueue, streams);
}

}  // namespace postfleet::commands
