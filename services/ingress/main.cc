// The SMTP server as a process of its own; the launcher gives it its sockets.

#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/ingress/ingress.h"
#include "services/ingress/listeners.h"
#include "services/ingress/pickup/pickup.h"

namespace postfleet {
namespace {

constexpr std::chrono::milliseconds kDrainGrace{10'000};

int Run(server::Process& process) {
  ingress::IngressOptions options;
  options.name = "ingress@" + process.config().GetString("myhostname");
  if (const absl::Status status =
          ingress::AddListeners(process.config(), process.arguments().listen_fds, 1, &options);
      !status.ok()) {
    server::Process::Die(status);
  }
  const rpc::LeaderChannel queue = server::OrDie(process.QueueChannel());
  options.queue = queue;
  options.lookup = server::OrDie(process.Channel("postfleet_lookup_address"));
  options.metrics = &process.metrics();
  const std::unique_ptr<ingress::Ingress> ingress =
      server::OrDie(ingress::Ingress::Start(std::move(options)));
  process.SetReady([&ingress] { return ingress->Ready(); });
  ingress::NodePickup pickup(queue);
  server::OrDie(pickup.Prepare(process.config()))();
  process.OnReload([&](const config::Config& config) {
    return ingress::PrepareListeners(config, process.arguments().listen_fds, 1, *ingress);
  });
  process.OnReload([&](const config::Config& config) { return pickup.Prepare(config); });
  process.WaitForStop();
  pickup.Drain(kDrainGrace);
  ingress->Drain(kDrainGrace);
  pickup.Stop();
  ingress->Stop();
  process.End();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-ingressd", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("smtpd", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
