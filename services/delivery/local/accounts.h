// The system's users, as local delivery knows them.
//
// A name service that fails is an error, Unavailable, and never "no such user". Lookups may block
// (NSS): SystemAccounts asks on the caller's thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "services/delivery/core/user_actions.h"

namespace postfleet::delivery {

struct User {
  std::string name;
  UserIds ids;
  std::string home;
  std::string shell;
};

class Accounts {
 public:
  virtual ~Accounts() = default;
  virtual absl::StatusOr<std::optional<User>> ByName(const std::string& name) = 0;
  virtual absl::StatusOr<std::optional<User>> ByUid(uid_t uid) = 0;
};

class SystemAccounts : public Accounts {
 public:
  absl::StatusOr<std::optional<User>> ByName(const std::string& name) override;
  absl::StatusOr<std::optional<User>> ByUid(uid_t uid) override;
};

// Of a group's name or number.
absl::StatusOr<std::optional<gid_t>> FindGroup(const std::string& name);

}  // namespace postfleet::delivery
