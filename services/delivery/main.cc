// A delivery worker as a process of its own, found nowhere: it connects to the scheduler.

#include <memory>

#include "libs/config/cluster_members.h"
#include "libs/server/instance.h"
#include "libs/server/pause_guard.h"
#include "libs/server/process.h"
#include "services/delivery/delivery_service.h"
#include "services/delivery/transports.h"

namespace postfleet {
namespace {

// In a cluster: whoever starts this again does so when it ends.
std::unique_ptr<server::PauseGuard> GuardAgainstPauses(const config::Config& config) {
  if (config::ClusterMembersOf(config).empty()) return nullptr;
  return server::OrDie(server::PauseGuard::Begin());
}

int Run(server::Process& process) {
  const std::unique_ptr<server::PauseGuard> guard = GuardAgainstPauses(process.config());
  auto mailboxes = delivery::ShareMailboxes(process.arguments().helper_fds);
  const delivery::TransportWorld world{
      .mailboxes = mailboxes,
      .queue = server::OrDie(process.QueueChannel()),
      .lookup = server::OrDie(process.Channel("postfleet_lookup_address")),
      .metrics = &process.metrics()};
  delivery::DeliveryService delivery(
      {.name = "delivery@" + process.config().GetString("myhostname"),
       .scheduler = server::OrDie(process.Channel("postfleet_scheduler_address")),
       .queue = world.queue,
       .transports = server::OrDie(delivery::TransportsFrom(process.config(), world)),
       .shared = std::move(mailboxes),
       .metrics = &process.metrics()});
  process.OnReload([&](const config::Config& config) {
    return delivery::PrepareTransports(config, world, delivery);
  });
  delivery.Start();
  process.SetReady([&delivery] { return delivery.Ready(); });
  process.WaitForStop();
  delivery.Drain(std::chrono::seconds(10));
  delivery.Stop();
  process.End();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-deliveryd", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("delivery", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
