// One message into one Maildir (https://cr.yp.to/proto/maildir.html), durably, in this order:
//
//   create tmp/NAME -> write -> fsync(file) -> rename to new/NAME -> fsync(new/) -> Commit returns
//   true
//
// so that what was answered as delivered is there after a power failure, whole, and a reader never
// sees a part. Names are Postfix's: tmp/SECONDS.PpidQnumber.HOST,
// new/SECONDS.VdeviceIinodeMmicroseconds.HOST. Missing folders are made (0700), and the folders
// above them synced; files are 0600.
//
// No symbolic link below the base is followed (Postfix follows those that the user may): a mailbox
// path that has one fails with ELOOP. When the sync of new/ fails the message stays there, though
// it is answered as failed: it may come twice.
//
// All methods run with the identity of the mailbox's user, which the caller takes on. A method that
// returned false ends the delivery: error() says why; then only Abandon is called.
#pragma once

#include <sys/uio.h>

#include <string>
#include <string_view>
#include <vector>

#include "services/delivery/privileged/directory_syncs.h"
#include "services/delivery/privileged/protocol.h"
#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class Maildir {
 public:
  // `request` must outlive it; `components` are those of CheckPath.
  Maildir(System& system, DirectorySyncs& syncs, const Request& request, const Target& target,
          std::vector<std::string> components);
  ~Maildir();
  Maildir(const Maildir&) = delete;
  Maildir& operator=(const Maildir&) = delete;

  // The file in tmp/.
  bool Create();
  // The target's header goes in front of the first bytes.
  bool Write(std::string_view bytes);
  // Once everything was written.
  bool Commit();
  // Removes what is in tmp/.
  void Abandon();

  const TargetResult& error() const { return error_; }
  // Its text without the reason.
  const std::string& failed_step() const { return failed_step_; }

 private:
  bool Fail(const std::string& what, int error_number);
  bool WriteAll(struct iovec* parts, int count);
  // Opens `folder` ("tmp", "new") of the Maildir, and makes it first if it is missing.
  int OpenFolder(const std::string& folder, bool for_sync);
  bool RootNew();
  bool MakeFolders(const std::string& folder);
  bool MakeFolder(int at, const std::string& name);
  std::string PathOf(const std::string& folder, const std::string& name) const;

  System& system_;
  DirectorySyncs& syncs_;
  const Request& request_;
  const Target& target_;
  const std::vector<std::string> components_;
  int base_ = -1;
  int tmp_ = -1;
  int new_ = -1;
  int file_ = -1;
  bool header_written_ = false;
  bool in_tmp_ = false;
  std::string tmp_name_;
  TargetResult error_;
  std::string failed_step_;
};

}  // namespace postfleet::delivery::privileged
