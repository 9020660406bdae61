// A snapshot as files, for a replica that lags behind what the logs of the others hold: the state's
// store as of one entry, and the manifest that says of which, with the group's members as of it.
//
// On its way in, in the queue's folder:
//   incoming/state/NAME   the files, as far as they have come
//   incoming/manifest     written last, when all of them were checked and are durable: from then on
//                         the next start takes the snapshot over (queue/received_snapshot.h)
//
// What a manifest says comes from the network: names are those of files in one folder, at most
// kFilesMax of them. Errors: InvalidArgument says what is wrong with it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::queue::transport {

inline constexpr int kFilesMax = 100'000;
inline constexpr size_t kFileNameBytesMax = 200;
inline constexpr size_t kPartBytes = 256 << 10;

std::string IncomingFolder(const std::string& directory);
std::string IncomingState(const std::string& directory);
std::string IncomingManifest(const std::string& directory);

absl::Status CheckManifest(const cluster::v1::SnapshotManifest& manifest);

// NotFound: no file of that name.
absl::StatusOr<uint32_t> ChecksumOfFile(const std::string& path, uint64_t bytes);
absl::Status SyncFile(const std::string& path);

}  // namespace postfleet::queue::transport
