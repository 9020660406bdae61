// A delivery worker as a process of its own, found nowhere: it connects to the scheduler.

#include "libs/server/process.h"
#include "services/delivery/delivery_service.h"
#include "services/delivery/transports.h"

namespace postfleet {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) server::Process::Die(value.status());
  return *std::move(value);
}

int Run(server::Process& process) {
  delivery::DeliveryService delivery(
      {.name = "delivery@" + process.config().GetString("myhostname"),
       .scheduler = OrDie(process.Channel("postfleet_scheduler_address")),
       .queue = OrDie(process.Channel("postfleet_queue_address")),
       .transports = OrDie(delivery::TransportsFrom(
           process.config(), {.helper_fds = process.arguments().helper_fds})),
       .metrics = &process.metrics()});
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
  const auto process = postfleet::server::Process::Begin("delivery", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
