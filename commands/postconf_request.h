// What a postconf command line asks for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::commands {

struct PostconfRequest {
  enum class What { kParameters, kServices, kFields, kServiceParameters } what = What::kParameters;
  enum class Edit { kNone, kSet, kRemove, kComment } edit = Edit::kNone;
  bool defaults = false;     // -d
  bool only_set = false;     // -n
  bool expanded = false;     // -x
  bool folded = false;       // -f
  bool values_only = false;  // -h
  bool names_only = false;   // -H
  bool builtin = true;       // -C
  bool service_defined = true;
  bool user_defined = true;
  bool lists_tables = false;           // -m
  bool lists_locks = false;            // -l
  bool lists_login_types = false;      // -a, -A
  bool expands_templates = false;      // -b
  bool shows_templates = false;        // -t
  bool quiet = false;                  // -q
  std::string tls_mode;                // -T
  std::string directory;               // -c
  std::vector<std::string> overrides;  // -o, "name=value"
  std::vector<std::string> operands;

  static constexpr std::string_view kUsage =
      "postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c "
      "config_dir] [-C class,... (of parameters)] [-d (parameter defaults)] [-e (edit "
      "configuration)] [-f (fold lines)] [-F (master.cf fields)] [-h (no names)] [-H (no values)] "
      "[-l (lock types)] [-m (map types)] [-M (master.cf)] [-n (non-default parameters)] [-o "
      "name=value (override parameter value)] [-p (main.cf, default)] [-P (master.cf parameters)] "
      "[-q (no warnings of unused names)] [-t (bounce templates)] [-T (TLS information)] [-v "
      "(verbose)] [-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]";

  // Errors: InvalidArgument in Postfix's words: options that do not go together, an unknown class;
  // kUsage is to be shown with OutOfRange (an unknown option).
  static absl::StatusOr<PostconfRequest> Parse(const std::vector<std::string>& arguments,
                                               std::string config_directory);
};

}  // namespace postfleet::commands
