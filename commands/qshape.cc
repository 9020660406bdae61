#include "commands/qshape.h"

#include <unistd.h>

#include <charconv>
#include <set>

#include "commands/options.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "commands/shape_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kUsage =
    "qshape [ -s ] [ -p ] [ -m <min_subdomains> ] [ -l ] [ -b <bucket_count> ] "
    "[ -t <bucket_time> ] [ -w <terminal_width> ] [ -N <batch_msg_count> ] "
    "[ -n <batch_top_domains> ] [ -c <config_directory> ] [ <queue_name> ... ]";
// perl's, of a program that dies.
constexpr int kFatalStatus = 255;
constexpr uint32_t kDomainsMax = 10'000;
constexpr size_t kTerminalRowsMax = 20;
constexpr int kNarrowestWidth = 80;
// The largest -b and -t; a column's limit stays below 2^63 ms.
constexpr int64_t kBucketsMax = 30;
constexpr int64_t kTickMinutesMax = 100'000;
constexpr int64_t kNumberMax = 1'000'000;

struct Wishes {
  std::string config_directory;
  ShapeOptions shape;
  bool senders = false;
  std::set<v1::QueueName> queues;
  bool any_queue = true;  // false: only queues without messages were named
};

absl::StatusOr<int64_t> ParseNumber(const Option& option) {
  const int64_t max = option.letter == 'b'   ? kBucketsMax
                      : option.letter == 't' ? kTickMinutesMax
                                             : kNumberMax;
  int64_t number = 0;
  const char* end = option.argument.data() + option.argument.size();
  const auto [stop, error] = std::from_chars(option.argument.data(), end, number);
  if (error != std::errc() || stop != end || number < 0 || number > max) {
    return absl::InvalidArgumentError(Concat("option -", option.letter, ": not a number from 0 to ",
                                             max, ": ", Showable(option.argument)));
  }
  return number;
}

// Numbers that make no sense (0 buckets, 20 columns) leave the default, as in Postfix.
absl::Status TakeNumber(const Option& option, bool on_terminal, ShapeOptions* shape) {
  const absl::StatusOr<int64_t> number = ParseNumber(option);
  if (!number.ok()) return number.status();
  switch (option.letter) {
    case 'b':
      if (*number > 0) shape->buckets = static_cast<int>(*number);
      break;
    case 't':
      if (*number > 0) shape->tick_minutes = *number;
      break;
    case 'm':
      if (*number > 0) shape->subdomains_min = static_cast<uint64_t>(*number);
      break;
    case 'w':
      if (*number > kNarrowestWidth) shape->width = static_cast<int>(*number);
      break;
    case 'N':
      if (*number > 0 && on_terminal) {
        return absl::UnimplementedError("option -N on a terminal: not supported yet");
      }
      break;
    default:  // -n
      if (on_terminal) shape->rows_max = static_cast<size_t>(*number);
  }
  return absl::OkStatus();
}

absl::Status TakeOptions(const CommandLine& line, bool on_terminal, Wishes* wishes) {
  if (on_terminal) wishes->shape.rows_max = kTerminalRowsMax;
  for (const Option& option : line.options) {
    switch (option.letter) {
      case 'c':
        wishes->config_directory = option.argument;
        break;
      case 's':
        wishes->senders = true;
        break;
      case 'p':
        wishes->shape.parents = true;
        break;
      case 'l':
        wishes->shape.linear = true;
        break;
      default:
        if (const absl::Status taken = TakeNumber(option, on_terminal, &wishes->shape);
            !taken.ok()) {
          return taken;
        }
    }
  }
  return absl::OkStatus();
}

void TakeQueues(const CommandLine& line, Console& console, Wishes* wishes) {
  for (const std::string& operand : line.operands) {
    if (const auto name = ParseQueueName(operand)) {
      wishes->queues.insert(*name);
    } else if (!IsEmptyQueueName(operand) && operand != "saved") {
      console.Warn(Concat("Can't stat ", Showable(operand), ": No such file or directory"));
    }
  }
  wishes->any_queue = line.operands.empty() || !wishes->queues.empty();
}

absl::StatusOr<v1::ShapeResponse> Ask(QueueClient& client, const Wishes& wishes) {
  v1::ShapeRequest request;
  *request.mutable_queues() = {wishes.queues.begin(), wishes.queues.end()};
  request.set_senders(wishes.senders);
  const std::vector<int64_t> ages = ShapeAgesMs(wishes.shape);
  *request.mutable_age_ms() = {ages.begin(), ages.end()};
  request.set_domains_max(kDomainsMax);
  return client.Shape(request);
}

int Print(Console& console, const v1::ShapeResponse& response, const ShapeOptions& shape) {
  if (response.truncated() || response.domains_size() == static_cast<int>(kDomainsMax)) {
    console.Warn(Concat("only the ", response.domains_size(), " domains with most are shown"));
  }
  return console.Write(FormatShape(response, shape)) ? console.Finish() : console.WriteFailed();
}

}  // namespace

int RunQshape(const Invocation& call, const Streams& streams) {
  Console console("qshape", kFatalStatus, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "lhc:psw:b:t:m:n:N:");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  for (const Option& option : line->options) {
    if (option.letter == 'h') return console.Usage(kUsage);
  }
  Wishes wishes = {.config_directory = call.config_directory};
  if (const absl::Status taken = TakeOptions(*line, isatty(fileno(streams.out)) == 1, &wishes);
      !taken.ok()) {
    return console.Fatal(taken);
  }
  TakeQueues(*line, console, &wishes);
  if (!wishes.any_queue) return Print(console, v1::ShapeResponse(), wishes.shape);

  absl::StatusOr<QueueClient> client =
      QueueClient::Open(wishes.config_directory, QueuePower::kEverything, console);
  if (!client.ok()) return console.Fatal(client.status());
  const absl::StatusOr<v1::ShapeResponse> shape = Ask(*client, wishes);
  if (!shape.ok()) return CallFailed(console, "Cannot count mail", shape.status());
  return Print(console, *shape, wishes.shape);
}

}  // namespace postfleet::commands
