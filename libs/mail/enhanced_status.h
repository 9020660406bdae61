// Enhanced mail system status codes (RFC 3463; RFC 2034 puts them into SMTP replies): "5.1.1".
//
// Parse takes exactly `class.subject.detail`: class 2, 4 or 5, the others 1 to 3 digits (RFC 3463,
// 2). Format never fails.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace postfleet::mail {

struct EnhancedStatus {
  int class_ = 0;  // 2, 4, 5; 0: there is none
  int subject = 0;
  int detail = 0;

  bool present() const { return class_ != 0; }
  bool IsSuccess() const { return class_ == 2; }
  bool IsTransient() const { return class_ == 4; }
  bool IsPermanent() const { return class_ == 5; }
  // "5.1.1"; "" when there is none.
  std::string ToString() const;

  friend bool operator==(const EnhancedStatus&, const EnhancedStatus&) = default;
};

// The whole text must be a code.
std::optional<EnhancedStatus> ParseEnhancedStatus(std::string_view text);

// A code at the start of `text` that is followed by white space or the end. Sets `length` to the
// code's bytes.
std::optional<EnhancedStatus> ParseEnhancedStatusPrefix(std::string_view text, size_t* length);

}  // namespace postfleet::mail
