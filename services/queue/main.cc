// The queue as a process of its own, at postfleet_queue_address; for every user's lists and flushes
// also at the public socket.

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/queue/public_queue.h"
#include "services/queue/queue.h"

namespace postfleet {
namespace {

int Run(server::Process& process) {
  const std::string address = process.config().GetString("postfleet_queue_address");
  if (address.empty()) {
    server::Process::Die(
        absl::InvalidArgumentError("parameter postfleet_queue_address is empty: give the address "
                                   "to listen on, host:port or unix:/path"));
  }
  queue::QueueOptions options = queue::QueueOptions::From(process.config());
  options.metrics = &process.metrics();
  options.on_fatal = server::Process::Die;
  absl::StatusOr<std::unique_ptr<queue::Queue>> opened = queue::Queue::Open(std::move(options));
  if (!opened.ok()) server::Process::Die(opened.status());
  const std::unique_ptr<queue::Queue> queue = *std::move(opened);
  if (const absl::Status served = process.Serve({queue->service()}, {address}); !served.ok()) {
    server::Process::Die(served);
  }
  auto everybody = queue::PublicQueue::Serve(queue::PublicQueueOptions::From(process.config()),
                                             process.InProcessChannel());
  if (!everybody.ok()) {
    maillog::Warning(process.name(), "only root and mail_owner can list and flush the queue: ",
                     std::string(everybody.status().message()));
  }
  process.OnReload([&](const config::Config& config) { return queue->Prepare(config); });
  if (everybody.ok()) {
    process.OnReload([&](const config::Config& config) { return (*everybody)->Prepare(config); });
  }
  process.SetReady([&queue] { return queue->Ready(); }, /*up=*/[] { return true; });
  process.WaitForStop();
  if (everybody.ok()) everybody->reset();
  queue->CloseStreams();
  process.End();
  queue->Stop();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-queued", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("queue", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
