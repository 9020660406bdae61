// libpowercut.so, loaded by LD_PRELOAD: writes down what the process does to the files below
// POWERCUT_TREE, and takes the power away at a boundary. README.md says how to use it. libc only.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/drill/powercut/journal.h"

// The real function behind an interposed one.
#define REAL(name) \
  static auto* const real = reinterpret_cast<decltype(&::name)>(dlsym(RTLD_NEXT, #name))

namespace powercut {
namespace {

constexpr int kDescriptorMin =
    500;  // where the journal's descriptor is put, out of the program's way
constexpr int kDescriptorsMax = 65536;

struct Settings {
  bool on = false;
  char tree[PATH_MAX] = "";
  size_t tree_bytes = 0;
  const char* ignore_sync = nullptr;
  bool drop_real_sync = false;
  bool cut_before = false;
  uint64_t cut_at = 0;  // 0: never
  pid_t group = 0;
  int journal = -1;
  State* state = nullptr;
};
Settings settings;

// inode * 2 + 1 when the descriptor is of a regular file below the tree; inode * 2 when it is of
// another file.
uint64_t descriptors[kDescriptorsMax];
pthread_mutex_t position_mutex = PTHREAD_MUTEX_INITIALIZER;  // write() and asking where it ended

// A change of names and its record: another thread's change that builds upon it comes after both.
pthread_mutex_t names_mutex = PTHREAD_MUTEX_INITIALIZER;

class NamesLock {
 public:
  NamesLock() { pthread_mutex_lock(&names_mutex); }
  ~NamesLock() {
    const int saved = errno;
    pthread_mutex_unlock(&names_mutex);
    errno = saved;
  }
};

// Raw calls: what the shim does itself is not watched.
long RawWrite(int fd, const void* bytes, size_t size) {
  return syscall(SYS_write, fd, bytes, size);
}

[[noreturn]] void Stop(const char* what, const char* path) {
  char line[PATH_MAX + 200];
  const int bytes = snprintf(line, sizeof(line), "powercut: not supported: %s %s\n", what, path);
  RawWrite(2, line, static_cast<size_t>(bytes));
  abort();
}

[[noreturn]] void Freeze() {
  for (;;) syscall(SYS_ppoll, nullptr, 0, nullptr, nullptr, 0);
}

bool PowerIsOff() { return __atomic_load_n(&settings.state->cut, __ATOMIC_ACQUIRE) != 0; }

[[noreturn]] void Cut() {
  __atomic_store_n(&settings.state->cut, 1, __ATOMIC_RELEASE);
  kill(settings.group != 0 ? -settings.group : -getpgrp(), SIGKILL);
  Freeze();
}

void Configure() {
  const char* control = getenv("POWERCUT_DIR");
  const char* tree = getenv("POWERCUT_TREE");
  if (control == nullptr || tree == nullptr) return;
  if (realpath(tree, settings.tree) == nullptr) Stop("no such POWERCUT_TREE", tree);
  settings.tree_bytes = strlen(settings.tree);
  settings.ignore_sync = getenv("POWERCUT_IGNORE_SYNC");
  settings.drop_real_sync = getenv("POWERCUT_NO_REAL_SYNC") != nullptr;
  if (const char* group = getenv("POWERCUT_GROUP")) settings.group = atoi(group);
  if (const char* at = getenv("POWERCUT_CUT_AT")) {  // "before:N", "after:N" or "N"
    settings.cut_before = strncmp(at, "before:", 7) == 0;
    const char* number = strchr(at, ':');
    settings.cut_at = strtoull(number != nullptr ? number + 1 : at, nullptr, 10);
  }
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s%s", control, kStateName);
  const long state = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
  snprintf(path, sizeof(path), "%s%s", control, kJournalName);
  const long journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (state < 0 || journal < 0) Stop("POWERCUT_DIR without init, or no permission:", control);
  void* memory = reinterpret_cast<void*>(
      syscall(SYS_mmap, nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, state, 0));
  settings.state = static_cast<State*>(memory);
  settings.journal = static_cast<int>(syscall(SYS_fcntl, journal, F_DUPFD_CLOEXEC, kDescriptorMin));
  syscall(SYS_close, state);
  syscall(SYS_close, journal);
  if (memory == MAP_FAILED || settings.journal < 0) Stop("cannot map", control);
  settings.on = true;
}

// Other libraries' constructors may open files before ours runs.
bool On() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, Configure);
  if (!settings.on) return false;
  if (PowerIsOff()) Freeze();
  return true;
}
__attribute__((constructor)) void Start() { On(); }

// The part of an absolute path below the tree; null when it lies elsewhere.
const char* BelowTree(const char* path) {
  if (strncmp(path, settings.tree, settings.tree_bytes) != 0) return nullptr;
  const char* rest = path + settings.tree_bytes;
  if (*rest == '\0') return rest;
  return *rest == '/' ? rest + 1 : nullptr;
}

bool PathOfDescriptor(int fd, char* path) {
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t bytes = readlink(link, path, PATH_MAX - 1);
  if (bytes < 0) return false;
  path[bytes] = '\0';
  return true;
}

// An entry's absolute path: its folder is resolved, its name is not. False when the folder does not
// exist.
bool Resolve(int folder_fd, const char* path, char* resolved) {
  char whole[PATH_MAX * 2];
  if (path[0] == '/' || folder_fd == AT_FDCWD) {
    snprintf(whole, sizeof(whole), "%s", path);
  } else {
    char folder[PATH_MAX];
    if (!PathOfDescriptor(folder_fd, folder)) return false;
    snprintf(whole, sizeof(whole), "%s/%s", folder, path);
  }
  for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/'; --end) whole[end - 1] = '\0';
  char* slash = strrchr(whole, '/');
  const char* name = slash != nullptr ? slash + 1 : whole;
  const char* folder = slash == nullptr ? "." : slash == whole ? "/" : whole;
  char name_copy[NAME_MAX + 1];
  if (strlen(name) > NAME_MAX) return false;
  strcpy(name_copy, name);
  if (slash != nullptr && slash != whole) *slash = '\0';
  char real_folder[PATH_MAX];
  if (realpath(folder, real_folder) == nullptr) return false;
  const int bytes = snprintf(resolved, PATH_MAX, "%s/%s",
                             strcmp(real_folder, "/") == 0 ? "" : real_folder, name_copy);
  return bytes < PATH_MAX;
}

// Like Resolve, and below the tree: `below` points into `resolved`, or is null.
const char* ResolveBelow(int folder_fd, const char* path, char* resolved) {
  const int saved = errno;
  const char* below = Resolve(folder_fd, path, resolved) ? BelowTree(resolved) : nullptr;
  errno = saved;
  return below;
}

void Append(Kind kind, uint64_t inode, uint64_t offset, const char* path, const char* path2,
            const iovec* data, int data_count, uint64_t data_bytes) {
  const int saved = errno;
  Record record{};
  record.magic = kMagic;
  record.kind = kind;
  record.path_bytes = static_cast<uint32_t>(strlen(path));
  record.path2_bytes = static_cast<uint32_t>(strlen(path2));
  record.inode = inode;
  record.offset = offset;
  record.data_bytes = data_bytes;
  record.check = CheckOf(record);
  iovec slices[IOV_MAX];
  int count = 0;
  slices[count++] = {&record, sizeof(record)};
  if (record.path_bytes > 0) slices[count++] = {const_cast<char*>(path), record.path_bytes};
  if (record.path2_bytes > 0) slices[count++] = {const_cast<char*>(path2), record.path2_bytes};
  uint64_t left = data_bytes;
  for (int i = 0; i < data_count && left > 0; ++i) {
    const size_t bytes = data[i].iov_len < left ? data[i].iov_len : left;
    if (count == IOV_MAX) break;
    slices[count++] = {data[i].iov_base, bytes};
    left -= bytes;
  }
  // More than one call takes: in one piece, so that the record is not torn.
  char* const piece = left == 0 ? nullptr : static_cast<char*>(malloc(data_bytes));
  if (left > 0) {
    if (piece == nullptr) Stop("no memory for a write to", settings.tree);
    uint64_t at = 0;
    for (int i = 0; i < data_count && at < data_bytes; ++i) {
      const uint64_t bytes = data[i].iov_len < data_bytes - at ? data[i].iov_len : data_bytes - at;
      memcpy(piece + at, data[i].iov_base, bytes);
      at += bytes;
    }
    count = 1 + (record.path_bytes > 0) + (record.path2_bytes > 0);
    slices[count++] = {piece, data_bytes};
  }
  const uint64_t whole = sizeof(record) + record.path_bytes + record.path2_bytes + data_bytes;
  const long written = syscall(SYS_writev, settings.journal, slices, count);
  if (written != static_cast<long>(whole)) Stop("a short write of the journal of", settings.tree);
  free(piece);
  errno = saved;
}

void AppendPath(Kind kind, const char* path, const char* path2 = "", uint64_t inode = 0) {
  Append(kind, inode, 0, path, path2, nullptr, 0, 0);
}
void AppendInode(Kind kind, uint64_t inode, uint64_t offset = 0) {
  Append(kind, inode, offset, "", "", nullptr, 0, 0);
}

// Counts a boundary; true when the power goes at this one.
bool AtCut() {
  const uint64_t number = __atomic_add_fetch(&settings.state->boundaries, 1, __ATOMIC_ACQ_REL);
  return settings.cut_at != 0 && number == settings.cut_at;
}

// The inode of a regular file below the tree, 0 for everything else.
uint64_t Watched(int fd) {
  if (!On() || fd < 0) return 0;
  const int saved = errno;
  struct stat attributes;
  uint64_t inode = 0;
  if (fstat(fd, &attributes) == 0 && S_ISREG(attributes.st_mode)) {
    const uint64_t key = static_cast<uint64_t>(attributes.st_ino) * 2;
    uint64_t known = fd < kDescriptorsMax ? __atomic_load_n(&descriptors[fd], __ATOMIC_RELAXED) : 0;
    if (known != key && known != key + 1) {
      char path[PATH_MAX];
      known = PathOfDescriptor(fd, path) && BelowTree(path) != nullptr ? key + 1 : key;
      if (fd < kDescriptorsMax) __atomic_store_n(&descriptors[fd], known, __ATOMIC_RELAXED);
    }
    if (known == key + 1) inode = attributes.st_ino;
  }
  errno = saved;
  return inode;
}

void Forget(int fd) {
  if (fd >= 0 && fd < kDescriptorsMax) __atomic_store_n(&descriptors[fd], 0, __ATOMIC_RELAXED);
}

bool Durable(int fd, int flags) {
  return (flags & (RWF_DSYNC | RWF_SYNC)) != 0 || (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

void Wrote(int fd, uint64_t inode, off_t begin, const iovec* data, int count, ssize_t done,
           int flags) {
  if (done <= 0) return;
  const bool durable = Durable(fd, flags);
  const bool cut = durable && AtCut();
  if (cut && settings.cut_before) Cut();
  Append(durable ? Kind::kDurableWrite : Kind::kWrite, inode, static_cast<uint64_t>(begin), "", "",
         data, count, static_cast<uint64_t>(done));
  if (cut) Cut();
}

template <typename Call>
ssize_t WriteAtPosition(int fd, uint64_t inode, const iovec* data, int count, Call call) {
  pthread_mutex_lock(&position_mutex);
  const ssize_t done = call();
  const int saved = errno;
  if (done > 0) {
    Wrote(fd, inode, lseek(fd, 0, SEEK_CUR) - done, data, count, done, 0);
  }
  pthread_mutex_unlock(&position_mutex);
  errno = saved;
  return done;
}

template <typename Call>
int SyncDescriptor(int fd, Call call) {
  if (!On()) return call();
  struct stat attributes;
  char path[PATH_MAX];
  const char* below = nullptr;
  if (fstat(fd, &attributes) == 0 && PathOfDescriptor(fd, path)) below = BelowTree(path);
  if (below == nullptr) return call();
  const bool ignored =
      settings.ignore_sync != nullptr && fnmatch(settings.ignore_sync, path, 0) == 0;
  const bool cut = AtCut();
  if (cut && settings.cut_before) Cut();
  if (!ignored) {
    if (S_ISDIR(attributes.st_mode)) {
      AppendPath(Kind::kSyncFolder, below);
    } else {
      AppendInode(Kind::kSyncFile, attributes.st_ino);
    }
  }
  if (cut) Cut();
  return settings.drop_real_sync ? 0 : call();
}

template <typename Call>
void SyncEverything(Call call) {
  if (On()) {
    const bool cut = AtCut();
    if (cut && settings.cut_before) Cut();
    AppendPath(Kind::kSyncAll, "");
    if (cut) Cut();
  }
  call();
}

// `call(flags)` opens. A new file is told from an old one by asking for a new one first.
template <typename Call>
int OpenFile(int folder_fd, const char* path, int flags, Call call) {
  if (!On()) return call(flags);
  char resolved[PATH_MAX];
  const char* below = ResolveBelow(folder_fd, path, resolved);
  if (below == nullptr || (flags & (O_ACCMODE | O_CREAT)) == O_RDONLY) {
    const int fd = call(flags);
    if (fd >= 0) Forget(fd);
    return fd;
  }
  if ((flags & O_TMPFILE) == O_TMPFILE) Stop("O_TMPFILE", path);
  struct stat attributes;
  if ((flags & O_CREAT) != 0) {
    const NamesLock lock;
    const int fd = call(flags | O_EXCL);
    if (fd >= 0) {
      Forget(fd);
      if (fstat(fd, &attributes) == 0) AppendPath(Kind::kCreate, below, "", attributes.st_ino);
      return fd;
    }
    if (errno != EEXIST || (flags & O_EXCL) != 0) return fd;
  }
  const int fd = call(flags);
  if (fd < 0) return fd;
  Forget(fd);
  if (fstat(fd, &attributes) != 0 || !S_ISREG(attributes.st_mode)) return fd;
  if ((flags & O_TRUNC) != 0) {
    AppendInode(Kind::kTruncate, attributes.st_ino, 0);
  }
  return fd;
}

template <typename Call>
int ChangeName(Kind kind, int folder_fd, const char* path, Call call) {
  if (!On()) return call();
  char resolved[PATH_MAX];
  const char* below = ResolveBelow(folder_fd, path, resolved);
  const NamesLock lock;
  const int result = call();
  if (result == 0 && below != nullptr) AppendPath(kind, below);
  return result;
}

template <typename Call>
int ChangeTwoNames(Kind kind, int from_fd, const char* from, int to_fd, const char* to, Call call) {
  if (!On()) return call();
  char resolved_from[PATH_MAX];
  char resolved_to[PATH_MAX];
  const char* below_from = ResolveBelow(from_fd, from, resolved_from);
  const char* below_to = ResolveBelow(to_fd, to, resolved_to);
  if (below_from == nullptr && below_to == nullptr) return call();
  if (below_from == nullptr || below_to == nullptr)
    Stop("rename or link across the tree's edge", to);
  const NamesLock lock;
  const bool cut = kind == Kind::kRename && AtCut();
  if (cut && settings.cut_before) Cut();
  const int result = call();
  if (result == 0) AppendPath(kind, below_from, below_to);
  if (cut) Cut();
  return result;
}

template <typename Call>
int Resize(Kind kind, int fd, off_t size, Call call) {
  const uint64_t inode = Watched(fd);
  const int result = call();
  if (result == 0 && inode != 0) AppendInode(kind, inode, static_cast<uint64_t>(size));
  return result;
}

mode_t ModeOf(int flags, va_list arguments) {
  if ((flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE) return 0;
  return static_cast<mode_t>(va_arg(arguments, int));
}

}  // namespace
}  // namespace powercut

using namespace powercut;  // the functions below are libc's

extern "C" {

#define OPEN(name)                                                                            \
  int name(const char* path, int flags, ...) {                                                \
    REAL(name);                                                                               \
    va_list arguments;                                                                        \
    va_start(arguments, flags);                                                               \
    const mode_t mode = ModeOf(flags, arguments);                                             \
    va_end(arguments);                                                                        \
    return OpenFile(AT_FDCWD, path, flags, [&](int with) { return real(path, with, mode); }); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                           \
  int name(int folder, const char* path, int flags, ...) {                     \
    REAL(name);                                                                \
    va_list arguments;                                                         \
    va_start(arguments, flags);                                                \
    const mode_t mode = ModeOf(flags, arguments);                              \
    va_end(arguments);                                                         \
    return OpenFile(folder, path, flags,                                       \
                    [&](int with) { return real(folder, path, with, mode); }); \
  }
OPENAT(openat)
OPENAT(openat64)

// What _FORTIFY_SOURCE makes of open without a mode.
int __open_2(const char* path, int flags) { return open(path, flags); }
int __open64_2(const char* path, int flags) { return open64(path, flags); }
int __openat_2(int folder, const char* path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char* path, int flags) { return openat64(folder, path, flags); }
int creat(const char* path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char* path, mode_t mode) {
  return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

// libc writes these by itself, unseen.
#define FOPEN(name)                                          \
  FILE* name(const char* path, const char* mode) {           \
    REAL(name);                                              \
    char resolved[PATH_MAX];                                 \
    if (strpbrk(mode, "wa+") != nullptr && On() &&           \
        ResolveBelow(AT_FDCWD, path, resolved) != nullptr) { \
      Stop("fopen for writing", path);                       \
    }                                                        \
    return real(path, mode);                                 \
  }
FOPEN(fopen)
FOPEN(fopen64)

#define MAKE_TEMPORARY(name, declaration, ...)                                        \
  int name declaration {                                                              \
    REAL(name);                                                                       \
    char resolved[PATH_MAX];                                                          \
    if (On() && ResolveBelow(AT_FDCWD, path, resolved) != nullptr) Stop(#name, path); \
    return real(__VA_ARGS__);                                                         \
  }
MAKE_TEMPORARY(mkstemp, (char* path), path)
MAKE_TEMPORARY(mkstemp64, (char* path), path)
MAKE_TEMPORARY(mkostemp, (char* path, int flags), path, flags)
MAKE_TEMPORARY(mkostemp64, (char* path, int flags), path, flags)

int close(int fd) {
  REAL(close);
  if (settings.on && fd == settings.journal) {
    errno = EBADF;
    return -1;
  }
  Forget(fd);
  return real(fd);
}
// A program that closes all it did not ask for leaves the journal open.
int close_range(unsigned first, unsigned last, int flags) noexcept {
  REAL(close_range);
  const auto journal = static_cast<unsigned>(settings.journal);
  if (!settings.on || journal < first || journal > last) return real(first, last, flags);
  const int below = journal > first ? real(first, journal - 1, flags) : 0;
  return below != 0 || journal == last ? below : real(journal + 1, last, flags);
}
int dup2(int from, int to) {
  REAL(dup2);
  if (settings.on && to == settings.journal) Stop("dup2 onto the journal's descriptor", "");
  Forget(to);
  return real(from, to);
}
int dup3(int from, int to, int flags) {
  REAL(dup3);
  if (settings.on && to == settings.journal) Stop("dup3 onto the journal's descriptor", "");
  Forget(to);
  return real(from, to, flags);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  REAL(write);
  const uint64_t inode = Watched(fd);
  if (inode == 0) return real(fd, bytes, size);
  const iovec slice{const_cast<void*>(bytes), size};
  return WriteAtPosition(fd, inode, &slice, 1, [&] { return real(fd, bytes, size); });
}
ssize_t writev(int fd, const iovec* slices, int count) {
  REAL(writev);
  const uint64_t inode = Watched(fd);
  if (inode == 0) return real(fd, slices, count);
  return WriteAtPosition(fd, inode, slices, count, [&] { return real(fd, slices, count); });
}

#define PWRITE(name, offset_type)                                            \
  ssize_t name(int fd, const void* bytes, size_t size, offset_type offset) { \
    REAL(name);                                                              \
    const uint64_t inode = Watched(fd);                                      \
    const ssize_t done = real(fd, bytes, size, offset);                      \
    const iovec slice{const_cast<void*>(bytes), size};                       \
    if (inode != 0) Wrote(fd, inode, offset, &slice, 1, done, 0);            \
    return done;                                                             \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type)                                           \
  ssize_t name(int fd, const iovec* slices, int count, offset_type offset) { \
    REAL(name);                                                              \
    const uint64_t inode = Watched(fd);                                      \
    const ssize_t done = real(fd, slices, count, offset);                    \
    if (inode != 0) Wrote(fd, inode, offset, slices, count, done, 0);        \
    return done;                                                             \
  }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define PWRITEV2(name, offset_type)                                                            \
  ssize_t name(int fd, const iovec* slices, int count, offset_type offset, int flags) {        \
    REAL(name);                                                                                \
    const uint64_t inode = Watched(fd);                                                        \
    if (inode != 0 && (offset == -1 || (flags & RWF_APPEND) != 0)) Stop("pwritev2 at -1", ""); \
    const ssize_t done = real(fd, slices, count, offset, flags);                               \
    if (inode != 0) Wrote(fd, inode, offset, slices, count, done, flags);                      \
    return done;                                                                               \
  }
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

ssize_t sendfile(int out, int in, off_t* offset, size_t count) {
  REAL(sendfile);
  if (Watched(out) != 0) Stop("sendfile", "");
  return real(out, in, offset, count);
}
ssize_t copy_file_range(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t count,
                        unsigned flags) {
  REAL(copy_file_range);
  if (Watched(out) != 0) Stop("copy_file_range", "");
  return real(in, in_offset, out, out_offset, count, flags);
}
ssize_t splice(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t count,
               unsigned flags) {
  REAL(splice);
  if (Watched(out) != 0) Stop("splice", "");
  return real(in, in_offset, out, out_offset, count, flags);
}

int ftruncate(int fd, off_t size) noexcept {
  REAL(ftruncate);
  return Resize(Kind::kTruncate, fd, size, [&] { return real(fd, size); });
}
int ftruncate64(int fd, off64_t size) noexcept {
  REAL(ftruncate64);
  return Resize(Kind::kTruncate, fd, size, [&] { return real(fd, size); });
}
int truncate(const char* path, off_t size) noexcept {
  REAL(truncate);
  char resolved[PATH_MAX];
  if (On() && ResolveBelow(AT_FDCWD, path, resolved) != nullptr) Stop("truncate", path);
  return real(path, size);
}
int truncate64(const char* path, off64_t size) noexcept { return truncate(path, size); }

#define FALLOCATE(name, offset_type)                                                        \
  int name(int fd, int mode, offset_type offset, offset_type bytes) {                       \
    REAL(name);                                                                             \
    if (Watched(fd) != 0 && (mode & ~FALLOC_FL_KEEP_SIZE) != 0) Stop("fallocate mode", ""); \
    if ((mode & FALLOC_FL_KEEP_SIZE) != 0) return real(fd, mode, offset, bytes);            \
    return Resize(Kind::kExtend, fd, offset + bytes,                                        \
                  [&] { return real(fd, mode, offset, bytes); });                           \
  }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

#define POSIX_FALLOCATE(name, offset_type)                                                     \
  int name(int fd, offset_type offset, offset_type bytes) {                                    \
    REAL(name);                                                                                \
    return Resize(Kind::kExtend, fd, offset + bytes, [&] { return real(fd, offset, bytes); }); \
  }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

int fsync(int fd) {
  REAL(fsync);
  return SyncDescriptor(fd, [&] { return real(fd); });
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return SyncDescriptor(fd, [&] { return real(fd); });
}
void sync() noexcept {
  REAL(sync);
  SyncEverything([&] { real(); });
}
int syncfs(int fd) noexcept {
  REAL(syncfs);
  int result = 0;
  SyncEverything([&] { result = real(fd); });
  return result;
}
// sync_file_range promises nothing after a loss of power: it is no boundary and makes nothing
// durable.

int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  return ChangeTwoNames(Kind::kRename, AT_FDCWD, from, AT_FDCWD, to,
                        [&] { return real(from, to); });
}
int renameat(int from_fd, const char* from, int to_fd, const char* to) noexcept {
  REAL(renameat);
  return ChangeTwoNames(Kind::kRename, from_fd, from, to_fd, to,
                        [&] { return real(from_fd, from, to_fd, to); });
}
int renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) noexcept {
  REAL(renameat2);
  if ((flags & ~RENAME_NOREPLACE) != 0) Stop("renameat2 flags", to);
  return ChangeTwoNames(Kind::kRename, from_fd, from, to_fd, to,
                        [&] { return real(from_fd, from, to_fd, to, flags); });
}
int link(const char* from, const char* to) noexcept {
  REAL(link);
  return ChangeTwoNames(Kind::kLink, AT_FDCWD, from, AT_FDCWD, to, [&] { return real(from, to); });
}
int linkat(int from_fd, const char* from, int to_fd, const char* to, int flags) noexcept {
  REAL(linkat);
  return ChangeTwoNames(Kind::kLink, from_fd, from, to_fd, to,
                        [&] { return real(from_fd, from, to_fd, to, flags); });
}
int symlink(const char* target, const char* path) noexcept {
  REAL(symlink);
  char resolved[PATH_MAX];
  if (On() && ResolveBelow(AT_FDCWD, path, resolved) != nullptr) Stop("symlink", path);
  return real(target, path);
}
int unlink(const char* path) noexcept {
  REAL(unlink);
  return ChangeName(Kind::kUnlink, AT_FDCWD, path, [&] { return real(path); });
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  REAL(unlinkat);
  return ChangeName((flags & AT_REMOVEDIR) != 0 ? Kind::kRemoveFolder : Kind::kUnlink, folder, path,
                    [&] { return real(folder, path, flags); });
}
int rmdir(const char* path) noexcept {
  REAL(rmdir);
  return ChangeName(Kind::kRemoveFolder, AT_FDCWD, path, [&] { return real(path); });
}
int remove(const char* path) noexcept {
  if (unlink(path) == 0) return 0;
  return errno == EISDIR || errno == EPERM ? rmdir(path) : -1;
}
int mkdir(const char* path, mode_t mode) noexcept {
  REAL(mkdir);
  return ChangeName(Kind::kMakeFolder, AT_FDCWD, path, [&] { return real(path, mode); });
}
int mkdirat(int folder, const char* path, mode_t mode) noexcept {
  REAL(mkdirat);
  return ChangeName(Kind::kMakeFolder, folder, path, [&] { return real(folder, path, mode); });
}

// By the raw call: an allocator may map before libc is ready for dlsym.
void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  const bool writes = (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0;
  if (writes && (flags & MAP_ANONYMOUS) == 0 && Watched(fd) != 0) Stop("mmap MAP_SHARED", "");
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, bytes, protection, flags, fd, offset));
}
void* mmap64(void* address, size_t bytes, int protection, int flags, int fd,
             off64_t offset) noexcept {
  return mmap(address, bytes, protection, flags, fd, offset);
}

}  // extern "C"
