// postfleetd, the embedded default: the five services in one process, over in-process channels. The
// same classes and contracts as the five processes.
//
// Commands reach it at postfleet_control_socket; what every user may ask, at the public socket
// (services/queue/public_queue.h). On SIGTERM: no new connections, sessions end
// between messages, running deliveries are waited for, outcomes are committed, then everything
// stops; what is left is in the queue.

#include <sys/stat.h>
#include <unistd.h>

#include <future>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/delivery/delivery_service.h"
#include "services/delivery/transports.h"
#include "services/ingress/ingress.h"
#include "services/ingress/listeners.h"
#include "services/ingress/pickup/pickup.h"
#include "services/lookup/core/resolver_parameters.h"
#include "services/lookup/lookup_service.h"
#include "services/queue/public_queue.h"
#include "services/queue/queue.h"
#include "services/scheduler/options.h"
#include "services/scheduler/scheduler_service.h"

namespace postfleet {
namespace {

constexpr std::chrono::milliseconds kSessionsGrace{10'000};
constexpr std::chrono::milliseconds kDeliveriesGrace{10'000};

std::unique_ptr<queue::Queue> OpenQueue(server::Process& process) {
  queue::QueueOptions options = queue::QueueOptions::From(process.config());
  options.metrics = &process.metrics();
  options.on_fatal = server::Process::Die;
  return server::OrDie(queue::Queue::Open(std::move(options)));
}

// The other half is for queue, scheduler and delivery.
constexpr int kCoresPerIngressLoop = 2;

std::unique_ptr<ingress::Ingress> StartIngress(server::Process& process,
                                               const std::shared_ptr<grpc::Channel>& channel) {
  ingress::IngressOptions options;
  options.name = "ingress@" + process.config().GetString("myhostname");
  if (const absl::Status status = ingress::AddListeners(
          process.config(), process.arguments().listen_fds, kCoresPerIngressLoop, &options);
      !status.ok()) {
    server::Process::Die(status);
  }
  options.queue = channel;
  options.lookup = channel;
  options.metrics = &process.metrics();
  return server::OrDie(ingress::Ingress::Start(std::move(options)));
}

// The path is ours by the lock on the instance: what lies there was left by a crash.
std::string ControlAddress(const config::Config& config) {
  const std::string path = config.GetString("postfleet_control_socket");
  unlink(path.c_str());
  return "unix:" + path;
}

// nullptr: without it only root and mail_owner list and flush.
std::unique_ptr<queue::PublicQueue> ServeEverybody(server::Process& process,
                                                   const std::shared_ptr<grpc::Channel>& channel) {
  auto serving =
      queue::PublicQueue::Serve(queue::PublicQueueOptions::From(process.config()), channel);
  if (serving.ok()) return *std::move(serving);
  maillog::Warning(process.name(), "only root and mail_owner can list and flush the queue: ",
                   std::string(serving.status().message()));
  return nullptr;
}

void DrainScheduler(scheduler::SchedulerService& scheduler) {
  auto drained = std::make_shared<std::promise<void>>();
  scheduler.Drain([drained] { drained->set_value(); });
  drained->get_future().wait_for(kDeliveriesGrace);
}

// The commands would look for the queue at an address where nobody listens.
absl::Status RefuseAddresses(const config::Config& config) {
  for (const char* name :
       {"postfleet_cluster_members", "postfleet_queue_address", "postfleet_scheduler_address",
        "postfleet_lookup_address"}) {
    if (config.GetString(name).empty()) continue;
    return absl::FailedPreconditionError(
        Concat(name,
               " is set, which is for the services as processes of their own: remove it, or "
               "start those instead of postfleetd"));
  }
  return absl::OkStatus();
}

int Run(server::Process& process) {
  if (const absl::Status refused = RefuseAddresses(process.config()); !refused.ok()) {
    server::Process::Die(refused);
  }
  const std::unique_ptr<queue::Queue> queue = OpenQueue(process);
  lookup::LookupService lookup(
      server::OrDie(lookup::Resolver::Open(lookup::ResolverParameters::From(process.config()))),
      &process.metrics());
  scheduler::SchedulerService scheduler(
      {.name = "scheduler@" + process.config().GetString("myhostname"),
       .config = server::OrDie(scheduler::ConfigFrom(process.config())),
       .metrics = &process.metrics()});
  if (const absl::Status served = process.Serve({queue->service(), &lookup, scheduler.service()},
                                                {ControlAddress(process.config())});
      !served.ok()) {
    server::Process::Die(served);
  }
  const std::shared_ptr<grpc::Channel> channel = process.InProcessChannel();
  std::unique_ptr<queue::PublicQueue> everybody = ServeEverybody(process, channel);

  lookup.Start();
  auto mailboxes = delivery::ShareMailboxes(process.arguments().helper_fds);
  const delivery::TransportWorld world{
      .mailboxes = mailboxes, .queue = channel, .lookup = channel, .metrics = &process.metrics()};
  delivery::DeliveryService delivery(
      {.name = "delivery@" + process.config().GetString("myhostname"),
       .scheduler = channel,
       .queue = channel,
       .transports = server::OrDie(delivery::TransportsFrom(process.config(), world)),
       .shared = std::move(mailboxes),
       .metrics = &process.metrics()});
  delivery.Start();
  scheduler.Start(channel, channel);
  const std::unique_ptr<ingress::Ingress> ingress = StartIngress(process, channel);
  process.SetReady([&] { return queue->Ready() && ingress->Ready(); },
                   /*up=*/[&] { return ingress->Ready(); });

  ingress::NodePickup pickup(channel);
  server::OrDie(pickup.Prepare(process.config()))();

  // What is offered before what is routed there, and that before what is taken in.
  process.OnReload([&](const config::Config& config) {
    return delivery::PrepareTransports(config, world, delivery);
  });
  process.OnReload([&](const config::Config& config) { return scheduler.Prepare(config); });
  process.OnReload([&](const config::Config& config) { return lookup.Prepare(config); });
  process.OnReload([&](const config::Config& config) { return queue->Prepare(config); });
  if (everybody != nullptr) {
    process.OnReload([&](const config::Config& config) { return everybody->Prepare(config); });
  }
  process.OnReload([&](const config::Config& config) {
    return ingress::PrepareListeners(config, process.arguments().listen_fds, kCoresPerIngressLoop,
                                     *ingress);
  });
  process.OnReload([&](const config::Config& config) { return pickup.Prepare(config); });

  process.WaitForStop();
  pickup.Drain(kSessionsGrace);
  ingress->Drain(kSessionsGrace);
  DrainScheduler(scheduler);
  delivery.Stop();
  pickup.Stop();
  ingress->Stop();
  scheduler.Stop();
  everybody.reset();
  queue->CloseStreams();
  process.End();
  lookup.Stop();
  queue->Stop();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleetd", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("master", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
