#include "services/queue/user_rights.h"

#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kEverybody = "static:anyone";
constexpr std::string_view kNoName = "unknown";
constexpr size_t kEntryBytes = 4u << 10;
constexpr size_t kEntryBytesMax = 1u << 20;

void Warn(const absl::Status& status) {
  maillog::Warning("queue", "a user is not let in: ", std::string(status.message()));
}

}  // namespace

absl::StatusOr<std::string> UserName(uid_t user) {
  for (size_t bytes = kEntryBytes; bytes <= kEntryBytesMax; bytes *= 2) {
    std::vector<char> buffer(bytes);
    passwd entry;
    passwd* found = nullptr;
    const int error = getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE) continue;
    if (found != nullptr) return std::string(found->pw_name);
    // ENOENT and its kin are how some name services say "not there" (getpwuid(3)).
    const bool is_missing =
        error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
    if (is_missing) return std::string(kNoName);
    return absl::UnavailableError(
        Concat("the name of user ", user, " cannot be looked up: ", strerror(error)));
  }
  return absl::UnavailableError(
      Concat("the entry of user ", user, " has more than ", kEntryBytesMax, " bytes"));
}

absl::StatusOr<UserRights::Users> UserRights::OpenList(std::string_view parameter,
                                                       const std::string& value) {
  if (value.starts_with(kEverybody)) return Users();
  absl::StatusOr<tables::MatchList> list = tables::MatchList::Open(parameter, value, {});
  if (!list.ok()) return list.status();
  return Users(*std::move(list));
}

absl::StatusOr<UserRights> UserRights::Open(const std::string& mail_owner,
                                            const std::string& mailq_users,
                                            const std::string& flush_users) {
  absl::StatusOr<Users> mailq = OpenList("authorized_mailq_users", mailq_users);
  if (!mailq.ok()) return mailq.status();
  absl::StatusOr<Users> flush = OpenList("authorized_flush_users", flush_users);
  if (!flush.ok()) return flush.status();
  UserRights rights;
  rights.own_user_ = geteuid();
  rights.mail_owner_ = mail_owner;
  rights.mailq_users_ = *std::move(mailq);
  rights.flush_users_ = *std::move(flush);
  return rights;
}

bool UserRights::IsNamed(Users& users, const std::string& name) {
  if (!users) return true;
  const absl::StatusOr<bool> named = users->Matches(name);
  if (!named.ok()) Warn(named.status());
  return named.ok() && *named;
}

Rights UserRights::Of(uid_t user) {
  if (user == 0 || user == own_user_) return {.lists = true, .flushes = true};
  Rights rights = {.lists = !mailq_users_, .flushes = !flush_users_};
  if (rights.lists && rights.flushes) return rights;
  const absl::StatusOr<std::string> name = UserName(user);
  if (!name.ok()) {
    Warn(name.status());
    return rights;
  }
  if (*name == mail_owner_) return {.lists = true, .flushes = true};
  return {.lists = IsNamed(mailq_users_, *name), .flushes = IsNamed(flush_users_, *name)};
}

}  // namespace postfleet::queue
