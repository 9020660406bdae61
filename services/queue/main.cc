// The queue as a process of its own: alone at postfleet_queue_address, or as a member of the
// cluster that postfleet_cluster_members names, at that member's address. For every user's lists
// and flushes also at the public socket.

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/config/cluster_members.h"
#include "libs/config/queue_addresses.h"
#include "libs/server/instance.h"
#include "libs/server/process.h"
#include "services/queue/member.h"
#include "services/queue/public_queue.h"
#include "services/queue/queue.h"
#include "services/queue/replica/version.h"

namespace postfleet {
namespace {

using queue::ClusterEntry;

std::unique_ptr<queue::Queue> OpenQueue(server::Process& process, queue::QueueOptions options) {
  options.metrics = &process.metrics();
  options.on_fatal = server::Process::Die;
  return server::OrDie(queue::Queue::Open(std::move(options)));
}

// This one, or all members, of which it is that at `address`.
rpc::LeaderChannel Replicas(server::Process& process, const std::string& address) {
  std::vector<rpc::Replica> replicas;
  for (const config::ClusterMember& member : config::ClusterMembersOf(process.config())) {
    replicas.push_back({member.address, member.address == address
                                            ? process.InProcessChannel()
                                            : server::Process::ChannelTo(member.address)});
  }
  if (replicas.empty()) return process.InProcessChannel();
  return rpc::LeaderChannel(std::move(replicas));
}

// Without it mail flows all the same.
std::unique_ptr<queue::PublicQueue> ServeEverybody(server::Process& process,
                                                   const std::string& address) {
  auto everybody = queue::PublicQueue::Serve(queue::PublicQueueOptions::From(process.config()),
                                             Replicas(process, address));
  if (everybody.ok()) return *std::move(everybody);
  maillog::Warning(process.name(), "only root and mail_owner can list and flush the queue: ",
                   std::string(everybody.status().message()));
  return nullptr;
}

// Serves until the process is told to stop. `member`: null without a cluster.
int ServeQueue(server::Process& process, queue::Queue& queue, queue::Member* member,
               const std::string& address) {
  std::vector<grpc::Service*> services = {queue.service()};
  if (member != nullptr) services.push_back(member->service());
  if (const absl::Status served = process.Serve(services, {address}); !served.ok()) {
    server::Process::Die(served);
  }
  std::unique_ptr<queue::PublicQueue> everybody = ServeEverybody(process, address);
  process.OnReload([&](const config::Config& config) { return queue.Prepare(config); });
  if (everybody != nullptr) {
    process.OnReload([&](const config::Config& config) { return everybody->Prepare(config); });
  }
  process.SetReady([&queue, member] { return member != nullptr ? member->Ready() : queue.Ready(); },
                   /*up=*/[] { return true; });
  process.WaitForStop();
  everybody.reset();
  if (member != nullptr) member->Close();
  queue.CloseStreams();
  process.End();
  if (member != nullptr) member->Stop();
  queue.Stop();
  return 0;
}

int RunAlone(server::Process& process) {
  const std::vector<std::string> addresses = config::QueueAddressesOf(process.config());
  if (addresses.size() != 1) {
    server::Process::Die(absl::InvalidArgumentError(
        addresses.empty()
            ? "parameter postfleet_queue_address is empty: give the address to listen on, "
              "host:port or unix:/path"
            : "parameter postfleet_queue_address has several addresses: those of replicas, which "
              "postfleet_cluster_members must name too"));
  }
  const std::unique_ptr<queue::Queue> queue =
      OpenQueue(process, queue::QueueOptions::From(process.config()));
  return ServeQueue(process, *queue, nullptr, addresses.front());
}

int RunMember(server::Process& process) {
  const ClusterEntry entry = {
      .directory = queue::QueueOptions::From(process.config()).directory,
      .own = server::OrDie(config::OwnClusterMember(process.config())),
      .members = config::ClusterMembersOf(process.config()),
      .versions = {.version = queue::kClusterVersion, .version_min = queue::kClusterVersionMin},
      .connect = [](const std::string& address) { return server::Process::ChannelTo(address); }};
  const auto identity = server::OrDie(queue::EnterCluster(process, entry));
  if (!identity) return 0;
  const auto address_of = [members = entry.members](const cluster::v1::Member& member) {
    return queue::AddressIn(members, member);
  };
  queue::Replication replication(
      {.cluster_id = identity->cluster_id,
       .own = queue::OwnMember(entry, identity->id),
       .versions = entry.versions,
       .directory = entry.directory,
       .connect =
           [address_of](const auto& member) {
             return server::Process::ChannelTo(address_of(member));
           },
       .say = [name = process.name()](const std::string& line) { maillog::Info(name, line); },
       .on_received = [&process] { process.Restart("a snapshot was received"); }});
  queue::QueueOptions options = queue::QueueOptions::From(process.config());
  options.identity = queue::membership::NodeIdentityOf(*identity);
  options.own = queue::OwnMember(entry, identity->id);
  options.peers = replication.sender();
  options.snapshots = replication.snapshots();
  options.on_members = [&replication](const cluster::v1::Membership& members) {
    replication.SetMembers(members);
  };
  options.address_of = address_of;
  const std::unique_ptr<queue::Queue> queue = OpenQueue(process, std::move(options));
  replication.Attach(queue.get());
  queue::Member member(process, entry, *identity, *queue, replication);
  return ServeQueue(process, *queue, &member, entry.own.address);
}

int Run(server::Process& process) {
  return config::ClusterMembersOf(process.config()).empty() ? RunAlone(process)
                                                            : RunMember(process);
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) {
  if (postfleet::server::PrintHelpIfAsked("postfleet-queued", argc, argv)) return 0;
  const auto process = postfleet::server::Process::Begin("queue", argc, argv);
  return process == nullptr ? 1 : postfleet::Run(*process);
}
