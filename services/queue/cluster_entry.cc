#include "services/queue/cluster_entry.h"

#include <grpcpp/generic/async_generic_service.h>

#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "libs/base/maillog.h"
#include "libs/rpc/leader.h"
#include "services/queue/log/file_system.h"
#include "services/queue/membership/cluster_service.h"
#include "services/queue/membership/cluster_start.h"

namespace postfleet::queue {
namespace {

using membership::ClusterService;
using membership::ClusterStart;
using membership::Identity;
using membership::Stage;

// Answers every call of the queue's: not now.
class NotYetService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class NotYet final : public grpc::ServerGenericBidiReactor {
     public:
      explicit NotYet(grpc::GenericCallbackServerContext* context) {
        Finish(rpc::NotLeader(context, ""));
      }
      void OnDone() override { delete this; }
    };
    return new NotYet(context);
  }
};

uint64_t RandomNumber() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 32) | random();
}

std::string RandomVolume() { return absl::StrFormat("%016x%016x", RandomNumber(), RandomNumber()); }

// Serves and asks until it is decided.
absl::StatusOr<std::optional<Identity>> FoundOrJoin(server::Process& process,
                                                    const ClusterEntry& entry,
                                                    const Identity& identity, bool has_queue) {
  const auto say = [name = process.name()](const std::string& line) { maillog::Info(name, line); };
  ClusterService service(
      {.own = OwnMember(entry, identity.id), .member_names = NamesOf(entry.members), .say = say});
  NotYetService rest;
  if (absl::Status served = process.Serve({&service}, {entry.own.address}, &rest); !served.ok()) {
    return served;
  }
  ClusterStart start(
      {.founding = {.own = entry.own, .members = entry.members, .has_queue = has_queue},
       .identity = identity,
       .versions = entry.versions,
       .connect = entry.connect,
       .say = say,
       .new_cluster_id = RandomNumber() | 1});
  const bool decided = process.WaitForStart([&start] { return start.result().has_value(); });
  process.StopServing();
  if (!decided) return std::nullopt;
  absl::StatusOr<Identity> result = *start.result();
  if (!result.ok()) return result.status();
  return std::optional<Identity>(*std::move(result));
}

}  // namespace

cluster::v1::Member OwnMember(const ClusterEntry& entry, uint64_t id) {
  cluster::v1::Member own;
  own.set_id(id);
  own.set_name(entry.own.name);
  own.set_address(entry.own.address);
  own.set_version(entry.versions.version);
  return own;
}

std::string AddressIn(const std::vector<config::ClusterMember>& members,
                      const cluster::v1::Member& member) {
  const config::ClusterMember* listed = config::FindClusterMember(members, member.name());
  return listed != nullptr ? listed->address : member.address();
}

std::vector<std::string> NamesOf(const std::vector<config::ClusterMember>& members) {
  std::vector<std::string> names;
  for (const config::ClusterMember& member : members) names.push_back(member.name);
  return names;
}

absl::StatusOr<std::optional<Identity>> EnterCluster(server::Process& process,
                                                     const ClusterEntry& entry) {
  FileSystem& files = PosixFileSystem();
  if (absl::Status made = files.CreateDirectory(entry.directory); !made.ok()) return made;
  absl::StatusOr<membership::Folder> folder = membership::LookAt(files, entry.directory);
  if (!folder.ok()) return folder.status();
  absl::StatusOr<Identity> identity = IdentityFor(*folder, {.name = entry.own.name,
                                                            .first = entry.members.front().name,
                                                            .fresh_volume = RandomVolume()});
  if (!identity.ok()) return identity.status();
  if (!folder->identity) {
    if (absl::Status written = WriteIdentity(files, entry.directory, *identity); !written.ok()) {
      return written;
    }
  }
  if (identity->stage != Stage::kNew) return std::optional<Identity>(*identity);
  absl::StatusOr<std::optional<Identity>> entered =
      FoundOrJoin(process, entry, *identity, folder->has_queue);
  if (!entered.ok() || !entered->has_value()) return entered;
  const absl::Status written = WriteIdentity(files, entry.directory, **entered);
  if (!written.ok()) return written;
  maillog::Info(process.name(), "cluster ", membership::IdText((*entered)->cluster_id),
                (*entered)->stage == Stage::kFounding ? " is founded here by " : " has taken in ",
                entry.own.name);
  return entered;
}

}  // namespace postfleet::queue
