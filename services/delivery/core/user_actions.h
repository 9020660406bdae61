// What an agent has done with another user's rights: mailboxes written, files read, commands run.
// The privileged helper does it (services/delivery/privileged); agents know only this.
//
// On the loop only. Each call is answered once by its `done`, on the loop, never before the call
// returns. Destroying the object forgets what is under way.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

struct UserIds {
  uid_t uid = 0;
  gid_t gid = 0;
};

// How one mailbox is locked against its readers (mailbox_delivery_lock, virtual_mailbox_lock).
struct MailboxLocks {
  bool fcntl = true;
  bool flock = false;
  bool dotlock = true;
  int tries = 20;                         // deliver_lock_attempts
  std::chrono::seconds delay{1};          // deliver_lock_delay
  std::chrono::seconds stale_after{500};  // stale_lock_time, of a dotlock file
};

struct MailboxDelivery {
  enum class Kind { kMaildir, kMbox };
  Kind kind = Kind::kMaildir;
  // Whose rights open and lock the mailbox.
  UserIds user;
  // The owner of a mailbox that is made; 0: whoever `user` is.
  UserIds owner;
  // Absolute. Of a Maildir with "/" at its end.
  std::string path;
  // kMaildir: folders below this one are made, and no links are followed there. Empty: the folder
  // that `path` lies in.
  std::string base;
  // In front of the contents, complete lines with LF. An mbox's begins with its "From " line; the
  // contents of one are quoted (">From ") and end with an empty line by whoever gives them.
  std::string header;
  uint64_t file_bytes_max = 0;  // 0: no limit
  MailboxLocks locks;           // kMbox
  // kMbox that exists already: kRefused, "destination PATH is not owned by recipient", unless it is
  // `owner`'s (or `user`'s, where that is 0).
  bool must_be_owned = false;
  // kMbox: kRefused, "file is executable", where any may execute it; and what is no regular file
  // (/dev/null, a FIFO) is written without lock, rewind or fsync. Otherwise that is kRefused,
  // "destination PATH is not a regular file".
  bool is_any_file = false;
};

// Of a mailbox, a file or a command that has not done what it was to do.
struct ActionFailure {
  enum class Kind {
    kNone,
    kFailed,       // the world's error: error_number
    kRefused,      // may not or cannot be done here: `text`
    kContents,     // the contents could not be read: nothing was delivered
    kUnavailable,  // the helper is not there, or went away: what it did is not known
    kCancelled,    // Cancel came in time: nothing was delivered
  };
  Kind kind = Kind::kNone;
  int error_number = 0;
  // What was done when it failed, "error writing message".
  std::string text;
  bool contents_damaged = false;  // kContents: for good
};

struct UserFile {
  ActionFailure failure;  // ENOENT: there is none
  std::string text;
  bool is_longer = false;  // than was asked for; `text` is its beginning
  bool is_link = false;    // the path's last part is a symbolic link, which was followed
  // Of the file as it was opened.
  bool is_regular = false;
  uid_t owner = 0;
  mode_t mode = 0;
};

struct Command {
  UserIds user;
  // Entered, with the user's rights, before it runs; empty: where the helper is ("/").
  std::string directory;
  std::string chroot;                    // empty: none
  std::vector<std::string> argv;         // argv[0] by the PATH of `environment`; never by a shell
  std::vector<std::string> environment;  // all of it, NAME=VALUE
  std::string header;                    // in front of the contents, on its standard input
  std::chrono::seconds time_limit{1000};
  size_t output_bytes_max = 4096;  // what comes after that is read and dropped
};

struct CommandEnd {
  enum class How { kExited, kSignalled, kTimedOut, kNotRun };
  How how = How::kNotRun;
  int code = 0;           // the exit status, or the signal
  std::string output;     // of standard output and error, as it came
  ActionFailure failure;  // kNotRun: why
};

class UserActions {
 public:
  virtual ~UserActions() = default;

  using Delivered = std::function<void(const ActionFailure&)>;
  using Read = std::function<void(UserFile)>;
  using Ended = std::function<void(CommandEnd)>;

  // Durable when answered with kNone. The number is for Cancel, never 0.
  virtual uint64_t Deliver(MailboxDelivery delivery, std::unique_ptr<ContentReader> contents,
                           Delivered done) = 0;
  virtual uint64_t ReadFile(UserIds user, std::string path, size_t bytes_max, Read done) = 0;
  // The command and what it has started (its process group) are killed when its time is over, when
  // it is cancelled, and when the helper's client goes away. Contents that it does not read are
  // dropped: its exit status alone says how it went.
  virtual uint64_t Run(Command command, std::unique_ptr<ContentReader> contents, Ended done) = 0;
  // Ends it unless it can no longer be stopped; answered all the same. An unknown number is
  // ignored.
  virtual void Cancel(uint64_t number) = 0;
};

}  // namespace postfleet::delivery
