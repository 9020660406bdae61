// The words of pipe's argv= with their macros expanded (pipe(8), COMMAND ATTRIBUTE SYNTAX).
//
//   ${name}, $(name), $name, and $$ for a $
//
// A word that has a macro of recipients becomes as many words as there are recipients; macros of
// the message are the same in each. What a macro gives is never looked into again, and stays one
// word whatever is in it: no shell sees it. A word with only $user or $mailbox in it is left out
// where that is empty, for that recipient.
//
// Pure. Errors: InvalidArgument, in Postfix's words: unknown macro name: "x".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/postfleet/mail/v1/mail.pb.h"

namespace postfleet::delivery {

struct WordRules {
  bool quote_local_part = false;    // flag q
  bool fold_user = false;           // flag u
  bool fold_host = false;           // flag h
  std::string recipient_delimiter;  // a set of characters
};

// Of one delivery; outlived by nothing.
struct WordFacts {
  const mail::v1::Envelope& envelope;
  std::string_view sender;  // what stands for the null sender too
  std::string_view nexthop;
  std::string_view queue_id;
  uint64_t message_bytes = 0;
  std::vector<const mail::v1::Recipient*> recipients;
};

absl::StatusOr<std::vector<std::string>> ExpandWords(const std::vector<std::string>& words,
                                                     const WordRules& rules,
                                                     const WordFacts& facts);

}  // namespace postfleet::delivery
