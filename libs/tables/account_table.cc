// unix:passwd.byname and unix:group.byname: the system's accounts, each as its line of passwd(5) or
// group(5).
#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "libs/base/concat.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

constexpr size_t kEntryBytesMax = 1 << 20;

// ENOENT and its kin are how some name services say "not there" (getpwnam(3)).
bool MeansNotFound(int error) { return error == 0 || error == ENOENT || error == ESRCH; }

// Calls a get...nam_r with a buffer that grows. Sets `found` to its entry or nullptr.
template <typename Entry, typename Get>
int Ask(Get get, const std::string& key, Entry& entry, Entry*& found, std::vector<char>& buffer) {
  buffer.resize(4096);
  for (;;) {
    int error = get(key.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error != ERANGE || buffer.size() >= kEntryBytesMax) return error;
    buffer.resize(buffer.size() * 2);
  }
}

class PasswdTable : public Table {
 public:
  explicit PasswdTable(std::string name) : Table(std::move(name), true) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    passwd entry;
    passwd* found = nullptr;
    std::vector<char> buffer;
    int error = Ask(getpwnam_r, std::string(key), entry, found, buffer);
    if (found == nullptr && !MeansNotFound(error))
      return LookupFailure(name(), strerrordesc_np(error));
    if (found == nullptr) return std::nullopt;
    return Concat(std::string_view(entry.pw_name), ':', std::string_view(entry.pw_passwd), ':',
                  entry.pw_uid, ':', entry.pw_gid, ':', std::string_view(entry.pw_gecos), ':',
                  std::string_view(entry.pw_dir), ':', std::string_view(entry.pw_shell));
  }
};

class GroupTable : public Table {
 public:
  explicit GroupTable(std::string name) : Table(std::move(name), true) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    group entry;
    group* found = nullptr;
    std::vector<char> buffer;
    int error = Ask(getgrnam_r, std::string(key), entry, found, buffer);
    if (found == nullptr && !MeansNotFound(error))
      return LookupFailure(name(), strerrordesc_np(error));
    if (found == nullptr) return std::nullopt;
    std::string line = Concat(std::string_view(entry.gr_name), ':',
                              std::string_view(entry.gr_passwd), ':', entry.gr_gid, ':');
    for (char** member = entry.gr_mem; *member != nullptr; ++member) {
      ConcatTo(&line, member == entry.gr_mem ? "" : ",", std::string_view(*member));
    }
    return line;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeAccountTable(std::string name, std::string argument,
                                                        const OpenOptions&) {
  if (argument == "passwd.byname") return std::make_unique<PasswdTable>(std::move(name));
  if (argument == "group.byname") return std::make_unique<GroupTable>(std::move(name));
  return absl::InvalidArgumentError(
      Concat(name, ": unknown UNIX table: ", argument, "; specify passwd.byname or group.byname"));
}

}  // namespace postfleet::tables
