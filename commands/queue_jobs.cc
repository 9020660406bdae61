#include "commands/queue_jobs.h"

#include <charconv>
#include <cstdint>
#include <optional>

#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kUsage = "postfleet [-c config_dir] queue jobs [--stop job_id]";
constexpr std::string_view kStop = "--stop";

// "ACTION_EXPIRE_RELEASE" -> "expire-release"
std::string WordOf(std::string_view name, std::string_view prefix) {
  std::string word = mail::LowerCasedAscii(name.substr(prefix.size()));
  for (char& c : word) c = c == '_' ? '-' : c;
  return word;
}

std::string LineOf(const v1::Job& job) {
  std::string line = Concat(job.id(), ": ", WordOf(v1::Action_Name(job.action()), "ACTION_"));
  for (const int queue : job.queues()) {
    const std::string& name = v1::QueueName_Name(static_cast<v1::QueueName>(queue));
    ConcatTo(&line, " ", WordOf(name, "QUEUE_NAME_"));
  }
  ConcatTo(&line, ": ", job.changed(), " of ", job.total(), " messages\n");
  return line;
}

std::optional<uint64_t> ParseId(std::string_view text) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

int ListJobs(QueueClient& client, Console& console) {
  const absl::StatusOr<v1::ListJobsResponse> response = client.ListJobs();
  if (!response.ok()) return CallFailed(console, "Cannot list the queue's jobs", response.status());
  for (const v1::Job& job : response->jobs()) {
    if (!console.Write(LineOf(job))) return console.WriteFailed();
  }
  return console.Finish();
}

int StopJob(QueueClient& client, uint64_t id, Console& console) {
  const absl::StatusOr<v1::StopJobResponse> response = client.StopJob(id);
  if (!response.ok()) return CallFailed(console, "Cannot stop a job", response.status());
  if (!response->stopped()) return console.Fatal(Concat("there is no job ", id, ", or it is done"));
  return 0;
}

}  // namespace

int RunQueueJobs(const Invocation& call, const std::vector<std::string>& arguments,
                 const Streams& streams) {
  Console console("postfleet", 1, streams);
  const bool stops = arguments.size() == 2 && arguments[0] == kStop;
  if (!stops && !arguments.empty()) return console.Usage(kUsage);
  const std::optional<uint64_t> id = stops ? ParseId(arguments[1]) : 0;
  if (!id) return console.Fatal(Concat("invalid job id: ", Showable(arguments[1])));
  absl::StatusOr<QueueClient> client =
      QueueClient::Open(call.config_directory, QueuePower::kEverything, console);
  if (!client.ok()) return console.Fatal(client.status());
  return stops ? StopJob(*client, *id, console) : ListJobs(*client, console);
}

}  // namespace postfleet::commands
