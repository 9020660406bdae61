// The lookup service as a process of its own, at postfleet_lookup_address.

#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/lookup/core/resolver_parameters.h"
#include "services/lookup/lookup_service.h"

namespace postfleet {
namespace {

int Run(server::Process& process) {
  absl::StatusOr<std::unique_ptr<lookup::Resolver>> resolver =
      lookup::Resolver::Open(lookup::ResolverParameters::From(process.config()));
  if (!resolver.ok()) server::Process::Die(resolver.status());
  lookup::LookupService lookup(*std::move(resolver), &process.metrics());
  const std::string address = process.config().GetString("postfleet_lookup_address");
  if (const absl::Status served = process.Serve({&lookup}, {address}); !served.ok()) {
    server::Process::Die(served);
  }
  lookup.Start();
  process.OnReload([&lookup](const config::Config& config) { return lookup.Prepare(config); });
  process.SetReady([] { return true; });
  process.WaitForStop();
  process.End();
  lookup.Stop();
  return 0;
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-lookupd", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("trivial-rewrite", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
