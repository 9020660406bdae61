// The words of the session's outcomes, which are Postfix's, shared by its source files.
#pragma once

#include <string>
#include <string_view>

#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/smtp/core/session.h"

namespace postfleet::delivery::smtp {

struct StepWords {
  // "lost connection with X while ..."
  const char* doing;
  // "... (in reply to X)"
  const char* command;
};

const StepWords& WordsOf(Session::Step step, bool lmtp = false);

// Deferred where `status` is 4.x.x, bounced otherwise.
mail::v1::Outcome MakeOutcome(std::string status, std::string text);

inline bool IsOpen(const mail::v1::Outcome& outcome) {
  return outcome.action() == mail::v1::Outcome::ACTION_UNSPECIFIED;
}

// An address that can stand on a line.
inline bool IsSendable(std::string_view address) {
  return address.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

}  // namespace postfleet::delivery::smtp
