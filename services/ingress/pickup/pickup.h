// pickup(8): brings what waits in queue_directory/maildrop into the queue.
//
// It looks when a file appears (inotify), and every `wakeup` (the service's fourth column in
// master.cf). A file is removed once the queue has its mail on disk. Nothing of a mail is lost or
// doubled whatever dies in between: before the queue can have it, the file's name gets the
// submission id (libs/maildrop/files.h), on disk; whoever finds it later hands it in under the same
// id, which the queue takes once. Only where the queue remembers no more (a week later) may there
// be a second copy, and a warning.
//
// While the queue is away, or its disk is full, mail stays where it is and is tried again. A file
// that is no mail is set aside as NAME.broken, with a warning; what is no file of a user is left
// alone, with one. A file that nobody has finished within kUnfinishedMax goes.
//
// A node has one: the folder is locked. Bounds: kAtOnceMax files at once, kChunksMax chunks of each
// on their way. All on a loop of its own, whose thread reads files and waits for the disk.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "libs/rpc/leader_channel.h"
#include "services/ingress/pickup/pickup_mail.h"

namespace postfleet::ingress {

struct PickupOptions {
  std::string name = "pickup@localhost";  // for the queue's logs
  std::string log_program = "pickup";
  std::string folder;
  PickupConfig mail;
  rpc::LeaderChannel queue;
  const Clock* clock = &SystemClock();
  std::chrono::milliseconds wakeup{60'000};
  // Before the next try when the queue could not take something.
  std::chrono::milliseconds pause{5'000};

  // Of the service `pickup` of master.cf; nullopt: there is none, so mail stays in maildrop.
  // Errors: a bad value.
  static absl::StatusOr<std::optional<PickupOptions>> From(const config::Config& config);
};

class Pickup {
 public:
  static constexpr size_t kAtOnceMax = 20;
  static constexpr size_t kChunksMax = 4;
  static constexpr std::chrono::hours kUnfinishedMax{7 * 24};

  explicit Pickup(PickupOptions options);
  ~Pickup();  // Stops

  void Start();
  // Takes no more files, and waits for those that are under way, at most `grace`. Not from a loop.
  void Drain(std::chrono::milliseconds grace);
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The node's: none, where master.cf has no service pickup.
class NodePickup {
 public:
  static constexpr std::chrono::seconds kReloadGrace{10};

  explicit NodePickup(rpc::LeaderChannel queue) : queue_(std::move(queue)) {}

  // What starts it, or another one in its place: files that are under way are waited for, at most
  // kReloadGrace; what is not done then is done by the new one. Errors: as PickupOptions::From.
  absl::StatusOr<std::function<void()>> Prepare(const config::Config& config);
  // As Pickup's. Not at once with what Prepare gives.
  void Drain(std::chrono::milliseconds grace);
  void Stop();

 private:
  const rpc::LeaderChannel queue_;
  std::unique_ptr<Pickup> running_;
};

}  // namespace postfleet::ingress
