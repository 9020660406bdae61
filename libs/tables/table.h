// Lookup tables by "type:name" (DATABASE_README); "proxy:" in front is taken off.
//
//   hash:, btree:     /path.db as Postfix's postmap writes it (Berkeley DB hash; keys and values
//                     with or without a trailing zero byte)
//   lmdb:/path        /path.lmdb, the same
//   texthash:/path    the text source itself, read whole
//   inline:{ key = value, { key = text with spaces } }
//   static:value      every key has this value; static:{text with spaces}
//   cidr:/path        keys are IP addresses; patterns, !patterns, if/endif
//   regexp:/path, pcre:/path   patterns, !patterns, if/endif, $1 in values; cidr, regexp and pcre
//                     also in place: regexp:{{/pattern/ value}, {...}}
//   unix:passwd.byname, unix:group.byname   the system's accounts
// A path without a type has OpenOptions::default_type.
//
// Open fails only for what is wrong in the specification: a syntax error, a type that is not
// supported. A file that cannot be read makes each Lookup fail instead (Unavailable, "hash:/path:
// open /path.db: No such file or directory") until it can be read: such a failure is temporary and
// must never be taken for "not found". A changed file is noticed by its inode, size or mtime,
// looked at once a second at most; hash and lmdb are opened again. Keys are compared in lower case
// (ASCII) except by static, cidr, regexp and pcre. A key of zero length is never found.
// Thread-compatible: one thread at a time. Lookups read files and may block.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"

namespace postfleet::tables {

struct OpenOptions {
  const Clock* clock = &SystemClock();  // decides when a file is looked at again
  std::string default_type = "hash";    // default_database_type
  bool fold_keys = true;
  // Values of regexp and pcre may have $1. Not where whoever chooses the key would write commands,
  // files or owners (Postfix's local and virtual): such a rule makes every lookup fail.
  bool allow_substitution = true;
};

class Table {
 public:
  virtual ~Table() = default;
  // nullopt: the key is not there. Error: it is not known whether it is.
  virtual absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) = 0;
  // "hash:/etc/postfix/transport", as written, without "proxy:".
  const std::string& name() const { return name_; }
  // True for hash, lmdb, texthash, inline: partial keys such as user@domain, domain and .domain
  // make sense. False for the others (one lookup of the whole key).
  bool has_fixed_keys() const { return has_fixed_keys_; }

 protected:
  Table(std::string name, bool has_fixed_keys)
      : name_(std::move(name)), has_fixed_keys_(has_fixed_keys) {}

 private:
  std::string name_;
  bool has_fixed_keys_;
};

absl::StatusOr<std::unique_ptr<Table>> OpenTable(std::string_view type_and_name,
                                                 const OpenOptions& options = {});

// True for "type:name" with a table type's look, false for "/file", "example.com", "[::1]".
bool LooksLikeTable(std::string_view item);

}  // namespace postfleet::tables
