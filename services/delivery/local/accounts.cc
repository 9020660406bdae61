#include "services/delivery/local/accounts.h"

#include <grp.h>
#include <paths.h>
#include <pwd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/status/status.h"

namespace postfleet::delivery {
namespace {

constexpr size_t kEntryBytesMax = 1 << 20;

// ENOENT and its kin are how some name services say "not there" (getpwnam(3)).
bool MeansNotFound(int error) { return error == 0 || error == ENOENT || error == ESRCH; }

// `get` is given a buffer that grows until the entry fits.
template <typename Entry, typename Get>
absl::StatusOr<const Entry*> Ask(Get get, Entry* entry, std::vector<char>* buffer) {
  for (buffer->resize(4096);; buffer->resize(buffer->size() * 2)) {
    Entry* found = nullptr;
    const int error = get(entry, buffer->data(), buffer->size(), &found);
    if (found != nullptr) return found;
    if (error == ERANGE && buffer->size() < kEntryBytesMax) continue;
    if (MeansNotFound(error)) return nullptr;
    return absl::UnavailableError(strerrordesc_np(error));
  }
}

std::string Text(const char* text) { return text == nullptr ? "" : text; }

template <typename Get>
absl::StatusOr<std::optional<User>> AskUser(Get get) {
  passwd entry;
  std::vector<char> buffer;
  const auto found = Ask<passwd>(get, &entry, &buffer);
  if (!found.ok()) return found.status();
  if (*found == nullptr) return std::nullopt;
  return User{.name = Text(entry.pw_name),
              .ids = {.uid = entry.pw_uid, .gid = entry.pw_gid},
              .home = Text(entry.pw_dir),
              // passwd(5): none is this one.
              .shell = Text(entry.pw_shell).empty() ? _PATH_BSHELL : Text(entry.pw_shell)};
}

}  // namespace

absl::StatusOr<std::optional<User>> SystemAccounts::ByName(const std::string& name) {
  // A name with a zero byte is nobody's; the C interface would see its beginning.
  if (name.find('\0') != std::string::npos) return std::nullopt;
  return AskUser([&](passwd* entry, char* buffer, size_t size, passwd** found) {
    return getpwnam_r(name.c_str(), entry, buffer, size, found);
  });
}

absl::StatusOr<std::optional<User>> SystemAccounts::ByUid(uid_t uid) {
  return AskUser([&](passwd* entry, char* buffer, size_t size, passwd** found) {
    return getpwuid_r(uid, entry, buffer, size, found);
  });
}

absl::StatusOr<std::optional<gid_t>> FindGroup(const std::string& name) {
  group entry;
  std::vector<char> buffer;
  const auto found =
      Ask<group>([&](group* to, char* data, size_t size,
                     group** result) { return getgrnam_r(name.c_str(), to, data, size, result); },
                 &entry, &buffer);
  if (!found.ok()) return found.status();
  if (*found == nullptr) return std::nullopt;
  return entry.gr_gid;
}

}  // namespace postfleet::delivery
