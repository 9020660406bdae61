#include "services/queue/membership/identity.h"

#include <sys/uio.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/config/cluster_members.h"

namespace postfleet::queue::membership {
namespace {

constexpr std::string_view kFirstLine = "postfleet identity 1\n";
constexpr std::string_view kNewSuffix = ".new";
constexpr size_t kVolumeDigits = 32;

constexpr struct {
  Stage stage;
  std::string_view name;
} kStages[] = {
    {Stage::kNew, "new"},
    {Stage::kFounding, "founding"},
    {Stage::kJoining, "joining"},
    {Stage::kMember, "member"},
};

std::string_view NameOf(Stage stage) {
  return std::find_if(std::begin(kStages), std::end(kStages),
                      [stage](const auto& row) { return row.stage == stage; })
      ->name;
}

std::string SumOf(std::string_view text) { return absl::StrFormat("%08x", Crc32c(text)); }

// The value of the next line, which must be of that name.
absl::StatusOr<std::string_view> TakeLine(std::string_view* text, std::string_view name) {
  const size_t end = text->find('\n');
  const std::string_view line = text->substr(0, end);
  if (end == std::string_view::npos || !line.starts_with(name) || line.size() <= name.size() ||
      line[name.size()] != ' ') {
    return absl::DataLossError(Concat("no line \"", name, " ...\" where it should be"));
  }
  text->remove_prefix(end + 1);
  return line.substr(name.size() + 1);
}

absl::StatusOr<uint64_t> TakeId(std::string_view* text, std::string_view name) {
  const absl::StatusOr<std::string_view> digits = TakeLine(text, name);
  if (!digits.ok()) return digits.status();
  uint64_t id = 0;
  const char* const end = digits->data() + digits->size();
  const auto [at, error] = std::from_chars(digits->data(), end, id, 16);
  if (error != std::errc() || at != end) {
    return absl::DataLossError(Concat("bad ", name, " \"", *digits, "\""));
  }
  return id;
}

bool IsVolume(std::string_view volume) {
  return volume.size() == kVolumeDigits &&
         volume.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::Status ParseLines(std::string_view text, Identity* identity) {
  const absl::StatusOr<std::string_view> name = TakeLine(&text, "name");
  if (!name.ok()) return name.status();
  const absl::StatusOr<std::string_view> volume = TakeLine(&text, "volume");
  if (!volume.ok()) return volume.status();
  const absl::StatusOr<uint64_t> id = TakeId(&text, "id");
  if (!id.ok()) return id.status();
  const absl::StatusOr<uint64_t> cluster = TakeId(&text, "cluster");
  if (!cluster.ok()) return cluster.status();
  const absl::StatusOr<std::string_view> stage_name = TakeLine(&text, "stage");
  if (!stage_name.ok()) return stage_name.status();
  const auto* stage = std::find_if(std::begin(kStages), std::end(kStages),
                                   [&](const auto& row) { return row.name == *stage_name; });
  if (!config::IsClusterName(*name) || !IsVolume(*volume) || *id == 0 ||
      stage == std::end(kStages) || (*cluster == 0) != (stage->stage == Stage::kNew) ||
      !text.empty()) {
    return absl::DataLossError("its lines contradict each other");
  }
  *identity = {std::string(*name), std::string(*volume), *id, *cluster, stage->stage};
  return absl::OkStatus();
}

absl::Status Write(FileSystem& files, const std::string& path, std::string_view text) {
  absl::StatusOr<std::unique_ptr<File>> file = files.Create(path);
  if (!file.ok()) return file.status();
  iovec slice = {const_cast<char*>(text.data()), text.size()};
  absl::Status status = (*file)->Write(0, absl::MakeSpan(&slice, 1));
  return status.ok() ? (*file)->Sync() : status;
}

absl::Status Refused(const Folder& folder, std::string_view why) {
  return absl::FailedPreconditionError(Concat("queue folder ", folder.directory, " ", why));
}

}  // namespace

NodeIdentity NodeIdentityOf(const Identity& identity) {
  return {.cluster_id = identity.cluster_id,
          .id = identity.id,
          .name = identity.name,
          .founds = identity.stage == Stage::kFounding};
}

uint64_t MemberId(std::string_view name, std::string_view volume) {
  // FNV-1a, then the finalizer of splitmix64, since FNV leaves the last bytes' traces in the low
  // bits.
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const char c : name) mix(static_cast<unsigned char>(c));
  mix(0);
  for (const char c : volume) mix(static_cast<unsigned char>(c));
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  hash ^= hash >> 31;
  return hash > kAloneId ? hash : ~hash;
}

std::string IdText(uint64_t id) { return absl::StrFormat("%016x", id); }

std::string EncodeIdentity(const Identity& identity) {
  std::string text = Concat(kFirstLine, "name ", identity.name, "\nvolume ", identity.volume,
                            "\nid ", IdText(identity.id), "\ncluster ", IdText(identity.cluster_id),
                            "\nstage ", NameOf(identity.stage), "\n");
  return Concat(text, "crc32c ", SumOf(text), "\n");
}

absl::StatusOr<Identity> ParseIdentity(std::string_view text) {
  const size_t sum_at = text.rfind("crc32c ");
  if (sum_at == std::string_view::npos ||
      text.substr(sum_at) != Concat("crc32c ", SumOf(text.substr(0, sum_at)), "\n")) {
    return absl::DataLossError("its checksum is wrong");
  }
  text = text.substr(0, sum_at);
  if (!text.starts_with(kFirstLine)) {
    return absl::DataLossError("it is of another version, or no identity");
  }
  Identity identity;
  const absl::Status parsed = ParseLines(text.substr(kFirstLine.size()), &identity);
  if (!parsed.ok()) return parsed;
  return identity;
}

absl::StatusOr<std::optional<Identity>> ReadIdentity(FileSystem& files,
                                                     const std::string& directory) {
  const std::string path = Concat(directory, "/", kIdentityFile);
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  if (!file.ok()) return file.status();
  std::string text(kIdentityBytesMax + 1, '\0');
  const absl::StatusOr<size_t> bytes = (*file)->Read(0, text.size(), text.data());
  if (!bytes.ok()) return bytes.status();
  text.resize(*bytes);
  absl::StatusOr<Identity> identity = ParseIdentity(text);
  if (!identity.ok()) {
    return absl::DataLossError(Concat(
        path, ": ", std::string(identity.status().message()),
        "; without it nobody knows which replica this is: move the folder away, and it joins "
        "again with an empty one"));
  }
  return std::optional<Identity>(*std::move(identity));
}

absl::Status WriteIdentity(FileSystem& files, const std::string& directory,
                           const Identity& identity) {
  const std::string path = Concat(directory, "/", kIdentityFile);
  const std::string next = Concat(path, kNewSuffix);
  if (absl::Status status = Write(files, next, EncodeIdentity(identity)); !status.ok()) {
    return status;
  }
  if (absl::Status status = files.Rename(next, path); !status.ok()) return status;
  return files.SyncDirectory(directory);
}

absl::StatusOr<Folder> LookAt(FileSystem& files, const std::string& directory) {
  Folder folder = {.directory = directory};
  const absl::StatusOr<std::vector<std::string>> names = files.List(directory);
  if (absl::IsNotFound(names.status())) return folder;
  if (!names.ok()) return names.status();
  folder.has_queue = std::any_of(names->begin(), names->end(), [](const std::string& name) {
    return name == "log" || name == "state" || name == "incoming";
  });
  absl::StatusOr<std::optional<Identity>> identity = ReadIdentity(files, directory);
  if (!identity.ok()) return identity.status();
  folder.identity = *std::move(identity);
  return folder;
}

absl::StatusOr<Identity> IdentityFor(const Folder& folder, const Starter& starter) {
  if (!folder.identity) {
    if (!folder.has_queue) {
      return Identity{.name = starter.name,
                      .volume = starter.fresh_volume,
                      .id = MemberId(starter.name, starter.fresh_volume)};
    }
    if (starter.name == starter.first) {
      return Identity{.name = starter.name, .volume = starter.fresh_volume, .id = kAloneId};
    }
    return Refused(
        folder, Concat("holds a queue of its own, and ", starter.name,
                       " begins with an empty one: only the first of postfleet_cluster_members, ",
                       starter.first,
                       ", brings its queue into a cluster. Start it there, or let its mail go "
                       "out first and move the folder away"));
  }
  const Identity& identity = *folder.identity;
  if (identity.name != starter.name) {
    return Refused(folder, Concat("belongs to the cluster's member ", identity.name,
                                  ", and this is ", starter.name,
                                  ": start it with its own folder (queue_directory), or see "
                                  "postfleet_cluster_name"));
  }
  if (identity.stage == Stage::kMember && !folder.has_queue) {
    return Refused(
        folder,
        "has lost its log and its store, and nobody knows any more what this replica has "
        "voted for: delete the folder, and it joins again");
  }
  return identity;
}

absl::Status CheckAlone(const Folder& folder) {
  if (!folder.identity || folder.identity->stage == Stage::kNew) return absl::OkStatus();
  return Refused(folder, Concat("belongs to the member ", folder.identity->name, " of cluster ",
                                IdText(folder.identity->cluster_id),
                                ", and is only opened as such: set postfleet_cluster_members"));
}

}  // namespace postfleet::queue::membership
