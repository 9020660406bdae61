// The files of queue_directory/maildrop, by name and mode.
//
//   NAME                        0644: somebody writes it
//   NAME                        0744: a mail (submission.h), whole and on disk
//   NAME.INCARNATION-SEQUENCE   it is being handed to the queue under this submission id, in hex
//   NAME.broken                 it could not be read, and waits for an administrator
//
// The folder is mail_owner's and has mode 1730 and the group setgid_group: whoever has that group
// (postdrop) may make files, only a file's owner and mail_owner may take them away. A file belongs
// to the user who sends: that is the proof of who it was, so nobody else's word is asked.
//
// Errors say what failed and why. Nothing here waits but for the disk.
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/clock.h"

namespace postfleet::maildrop {

inline constexpr std::string_view kFolder = "/maildrop";
inline constexpr mode_t kFolderMode = 01730;
inline constexpr std::string_view kBroken = ".broken";

// A file that is being written. Not copied; what is not committed is removed at the end.
class NewFile {
 public:
  // Errors: PermissionDenied, NotFound (there is no folder), ResourceExhausted (the disk is full),
  // Unavailable.
  static absl::StatusOr<NewFile> Create(const std::string& folder, const Clock& clock);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }

  // At most `bytes_max` bytes in all; 0: as many as there are. OutOfRange: more.
  absl::Status Append(std::string_view bytes, uint64_t bytes_max);
  // Shows it to its reader, and blocks until it is on the disk. An error: it is removed, though the
  // reader may have taken it by then.
  absl::Status Commit();

 private:
  NewFile() = default;
  absl::Status Flush();

  int fd_ = -1;
  std::string name_;
  std::string path_;
  std::string buffer_;
  uint64_t bytes_ = 0;
};

// A submission id (queue.proto).
struct Mark {
  uint64_t incarnation = 0;
  uint64_t sequence = 0;

  friend bool operator==(const Mark&, const Mark&) = default;
};

struct FileName {
  std::string id;
  std::optional<Mark> mark;
  bool broken = false;
};

// nullopt: no file of ours.
std::optional<FileName> ParseFileName(std::string_view name);
std::string FormatFileName(std::string_view id, const Mark& mark);

// What a reader may do, with mail_owner's rights.
class Folder {
 public:
  static absl::StatusOr<Folder> Open(const std::string& path);
  Folder(Folder&& other) noexcept;
  Folder& operator=(Folder&&) = delete;
  ~Folder();

  const std::string& path() const { return path_; }

  // One reader may have it, until it is closed. False: another one has.
  bool Lock() const;

  // All names, in no order; from the start again after Rewind. nullopt: that were all.
  std::optional<std::string> Next();
  void Rewind();

  struct File {
    enum State {
      kReady,
      kUnfinished,  // somebody writes it
      kGone,
      kStrange,  // it is not what somebody may send: `what` says why
    };
    State state = kGone;
    int fd = -1;  // of kReady: to be closed by who asked
    std::string what;
    uid_t owner = 0;
    uint64_t bytes = 0;
    int64_t modified_ms = 0;
  };
  // Never blocks on what lies there, never follows a link.
  File OpenFile(const std::string& name) const;
  // The same without a descriptor.
  File LookAt(const std::string& name) const;

  absl::Status Rename(const std::string& from, const std::string& to) const;
  // Not there any more is no error.
  absl::Status Remove(const std::string& name) const;
  // Blocks until names are on the disk.
  absl::Status Sync() const;

 private:
  Folder(std::string path, DIR* entries) : path_(std::move(path)), entries_(entries) {}

  std::string path_;
  DIR* entries_;
};

}  // namespace postfleet::maildrop
