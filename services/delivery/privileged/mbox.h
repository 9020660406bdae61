// One message at the end of one mbox file (RFC 4155, as mail readers lock it), durably:
//
//   open or make -> lock file PATH.lock -> fcntl and flock locks -> is it still the file at PATH?
//   -> fsync of the folder if the file is empty -> write -> fsync -> Commit returns true ->
//   unlocked
//
// What fails takes back what was written, under the lock: the file has its old length. A process
// that dies between leaves a part, as with every mbox.
//
// No symbolic link is followed as the path's last part, and a file with a second name is refused:
// it would let a user have another's file written to. All methods run with the rights of the
// mailbox's user, which the caller takes on. A method that returned false ends the delivery:
// result() says why; then only Abandon is called.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "services/delivery/privileged/action_protocol.h"
#include "services/delivery/privileged/directory_syncs.h"
#include "services/delivery/privileged/mailbox_turns.h"
#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class Mbox {
 public:
  // Waits so long; false: the delivery was called off.
  using Wait = std::function<bool(uint32_t milliseconds)>;

  // `request` must outlive it.
  Mbox(System& system, DirectorySyncs& syncs, MailboxTurns& turns, const ActionRequest& request,
       Wait wait);
  // Unlocks.
  ~Mbox();
  Mbox(const Mbox&) = delete;
  Mbox& operator=(const Mbox&) = delete;

  bool Open();
  // The request's header goes in front of the first bytes.
  bool Write(std::string_view bytes);
  bool Commit();
  // As it was before.
  void Abandon();

  const ActionAnswer& result() const { return result_; }

 private:
  bool OpenFile();
  bool FailToOpen(int error_number);
  bool CheckFile();
  bool IsStillThere();
  bool LockAll();
  bool TakeLockFile();
  bool TakeLocks();
  void ReleaseLocks();
  void Unlock();
  bool WriteAll(std::string_view bytes);
  bool SyncFolder();
  bool Fail(std::string what, int error_number);
  bool Refuse(std::string why);

  System& system_;
  DirectorySyncs& syncs_;
  MailboxTurns& turns_;
  const ActionRequest& request_;
  const Wait wait_;
  const std::string lock_path_;
  std::optional<MailboxTurns::Turn> turn_;
  int file_ = -1;
  struct stat stat_ = {};
  bool is_regular_ = true;
  bool was_made_ = false;
  bool has_lock_file_ = false;
  bool header_written_ = false;
  uint64_t end_ = 0;      // where the message begins
  uint64_t written_ = 0;  // of it
  ActionAnswer result_;
};

}  // namespace postfleet::delivery::privileged
