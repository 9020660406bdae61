// What reading the configuration has to say besides its result.
//
// A Diagnostic is one line in Postfix's words, without program name and severity
// ("/etc/postfix/main.cf: unused parameter: ..."). Readers append; the program that loads the
// configuration logs them once ("warning: " + text) and goes on. What stops the start is an
// absl::Status instead; its message is the text after "fatal: ".
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace postfleet::config {

struct Diagnostic {
  enum class Kind {
    kUnused,       // a name that nobody reads
    kUnsupported,  // a parameter that is not, or not wholly, supported
    kOther,
  };
  std::string text;
  Kind kind = Kind::kOther;
};

class Diagnostics {
 public:
  void Warn(std::string text, Diagnostic::Kind kind = Diagnostic::Kind::kOther) {
    warnings_.push_back({std::move(text), kind});
  }
  const std::vector<Diagnostic>& warnings() const { return warnings_; }

 private:
  std::vector<Diagnostic> warnings_;
};

}  // namespace postfleet::config
