// The scheduler as a process of its own, at postfleet_scheduler_address.

#include <future>

#include "libs/base/queue_id.h"
#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/scheduler/options.h"
#include "services/scheduler/scheduler_service.h"

namespace postfleet {
namespace {

constexpr std::chrono::seconds kDrainGrace{10};

int Run(server::Process& process) {
  scheduler::SchedulerService scheduler({
      .name = "scheduler@" + process.config().GetString("myhostname"),
      .config = server::OrDie(scheduler::ConfigFrom(process.config())),
      .metrics = &process.metrics(),
  });
  const std::string address = process.config().GetString("postfleet_scheduler_address");
  if (const absl::Status served = process.Serve({scheduler.service()}, {address}); !served.ok()) {
    server::Process::Die(served);
  }
  scheduler.Start(server::OrDie(process.QueueChannel()),
                  server::OrDie(process.Channel("postfleet_lookup_address")));
  process.OnReload([&](const config::Config& config) { return scheduler.Prepare(config); });
  process.SetReady([&scheduler] { return scheduler.Ready(); });
  process.WaitForStop();
  auto drained = std::make_shared<std::promise<void>>();
  scheduler.Drain([drained] { drained->set_value(); });
  drained->get_future().wait_for(kDrainGrace);
  scheduler.Stop();
  process.End();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-schedulerd", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("qmgr", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
