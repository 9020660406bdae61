// Which of the two public calls a user of this machine may use: authorized_mailq_users and
// authorized_flush_users, as postconf(5) says; see public_queue.h.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/tables/match_list.h"

namespace postfleet::queue {

struct Rights {
  bool lists = false;
  bool flushes = false;

  bool operator==(const Rights&) const = default;
};

class UserRights {
 public:
  // `mail_owner` is a user name. Errors: InvalidArgument, a list is malformed.
  static absl::StatusOr<UserRights> Open(const std::string& mail_owner,
                                         const std::string& mailq_users,
                                         const std::string& flush_users);

  // Not thread-safe. May wait for the machine's name service and for tables; not if both lists are
  // static:anyone.
  Rights Of(uid_t user);

 private:
  // nullopt: everybody.
  using Users = std::optional<tables::MatchList>;
  static absl::StatusOr<Users> OpenList(std::string_view parameter, const std::string& value);
  static bool IsNamed(Users& users, const std::string& name);

  uid_t own_user_ = 0;
  std::string mail_owner_;
  Users mailq_users_;
  Users flush_users_;
};

// The name of a user id, as Postfix has it for these lists: "unknown" if it has none. Error:
// Unavailable, the name service does not answer.
absl::StatusOr<std::string> UserName(uid_t user);

}  // namespace postfleet::queue
