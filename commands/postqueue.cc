#include "commands/postqueue.h"

#include <sysexits.h>

#include <functional>

#include "commands/options.h"
#include "commands/print_queue.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "commands/waiting_mail.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "libs/mail/address.h"
#include "libs/tables/fast_flush.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site; not "
    "supported yet: -v";

constexpr std::string_view kReport = "Queue report unavailable";
constexpr std::string_view kFlush = "Cannot flush mail queue";
// Of an argument that is none, so much is told.
constexpr size_t kArgumentShownBytesMax = 100;

namespace v1 = queue::v1;

// Before the queue's: what leaves maildrop meanwhile is seen there.
bool PrintWaiting(const config::Config& config, Console& console,
                  const std::function<std::string(const v1::ListedMessage&)>& format) {
  bool written = true;
  WaitingMail(config).ForEach([&](const v1::ListedMessage& message) {
    written = console.Write(format(message));
    return written;
  });
  return written;
}

int PrintTable(QueueClient& client, const config::Config& config, Console& console) {
  QueueTable table(absl::LocalTimeZone());
  const auto add = [&](const v1::ListedMessage& message) { return table.Add(message); };
  if (!PrintWaiting(config, console, add)) return console.WriteFailed();
  const int status = PrintQueue(client, console, kReport, kPostfixQueues, add);
  if (status != EX_OK) return status;
  return console.Write(table.End()) ? console.Finish() : console.WriteFailed();
}

int PrintJson(QueueClient& client, const config::Config& config, Console& console) {
  if (!PrintWaiting(config, console, MaildropJsonLine)) return console.WriteFailed();
  const int status = PrintQueue(client, console, kReport, kPostfixQueues, QueueJsonLine);
  return status == EX_OK ? console.Finish() : status;
}

int FlushAll(QueueClient& client, Console& console) {
  const auto flushed = client.Flush("");
  return flushed.ok() ? EX_OK : CallFailed(console, kFlush, flushed.status());
}

// A message that is not there or not deferred is no error, as in Postfix.
int FlushOne(QueueClient& client, Console& console, const std::string& queue_id) {
  v1::AdministerRequest request;
  request.set_action(v1::ACTION_FLUSH);
  request.add_queue_ids(queue_id);
  const auto flushed = client.Administer(request);
  return flushed.ok() ? EX_OK : CallFailed(console, kFlush, flushed.status());
}

std::string Quoted(std::string_view argument) {
  return Concat('"', Showable(argument.substr(0, kArgumentShownBytesMax)),
                argument.size() > kArgumentShownBytesMax ? "..." : "", '"');
}

absl::StatusOr<bool> MayBeFlushed(const config::Config& config, const std::string& site) {
  absl::StatusOr<tables::FastFlushDomains> sites = tables::FastFlushDomains::Open(config);
  if (!sites.ok()) return sites.status();
  return sites->Contains(site);
}

int FlushSite(QueueClient& client, const config::Config& config, Console& console,
              const std::string& site) {
  const absl::StatusOr<bool> may_be = MayBeFlushed(config, site);
  if (!may_be.ok()) return CallFailed(console, kFlush, may_be.status());
  if (!*may_be) {
    return console.Fatal(
        Concat("Flush service is not configured for destination \"", Showable(site), "\""));
  }
  const auto flushed = client.Flush(mail::LowerCasedAscii(site));
  return flushed.ok() ? EX_OK : CallFailed(console, kFlush, flushed.status());
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
    } else if (option.letter == 'v') {
      return console.NotSupported(Concat("option -", option.letter));
    } else if (mode != nullptr) {
      return console.Usage(kUsage);
    } else {
      mode = &option;
    }
  }
  if (mode == nullptr || !line->operands.empty()) return console.Usage(kUsage);
  if (mode->letter == 'i' && !IsQueueId(mode->argument)) {
    return console.Fatal(Concat("Cannot flush queue ID - invalid name: ", Quoted(mode->argument)));
  }
  if (mode->letter == 's' && !tables::FastFlushDomains::IsSite(mode->argument)) {
    return console.Fatal(
        Concat("Cannot flush mail queue - invalid destination: ", Quoted(mode->argument)));
  }

  const absl::StatusOr<config::Config> config = LoadQueueConfig(directory, console);
  if (!config.ok()) return console.Fatal(config.status());
  // There is nobody who could be told of a flush.
  const bool lists = mode->letter == 'p' || mode->letter == 'j';
  absl::StatusOr<QueueClient> client =
      lists ? QueueClient::AtOrDirect(*config, QueuePower::kListAndFlush, console)
            : QueueClient::At(*config, QueuePower::kListAndFlush);
  if (!client.ok()) return console.Fatal(client.status());
  if (client->direct()) console.Warn("Mail system is down -- accessing queue directly");
  switch (mode->letter) {
    case 'p':
      return PrintTable(*client, *config, console);
    case 'j':
      return PrintJson(*client, *config, console);
    case 'i':
      return FlushOne(*client, console, mode->argument);
    case 's':
      return FlushSite(*client, *config, console, mode->argument);
    default:
      return FlushAll(*client, console);
  }
}

}  // namespace postfleet::commands
