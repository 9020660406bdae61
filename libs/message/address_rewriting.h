// Trivial rewriting (trivial-rewrite(8)): incomplete addresses get a domain, in the envelope and in
// header fields that hold address lists (RFC 5322, 3.4).
//
//   user            user@origin       append_at_origin
//   user@host       user@host.domain  append_dot_domain; not for address literals
//   site!user       user@site         swap_bangpath; only where there is no @
//   user%domain     user@domain       percent_hack; only where there is no @
//   @a,@b:user@c    user@c            source routes go
//   user@host.      user@host
//
// Lists are read as Postfix reads them, which is far laxer than RFC 5322: nothing is refused, words
// that follow one another without a comma are addresses of their own (`John Doe` becomes
// `John@origin, Doe@origin`), comments inside an address move behind it. A field in which no
// address changes keeps its bytes. A field in which one does is written anew: needless quotes and
// folding go, needed quotes come, lines break behind commas before they reach 70 bytes.
//
// Costs: for a field that needs nothing, as nearly all do, one pass and no allocation.
// Pure; cannot fail.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/mail/address.h"
#include "libs/mail/address_tokens.h"

namespace postfleet::message {

struct AddressRewriting {
  std::string origin;  // $myorigin, or $remote_header_rewrite_domain; "": nothing is appended
  std::string domain;  // $mydomain, or $remote_header_rewrite_domain; without a leading dot
  bool append_at_origin = true;
  bool append_dot_domain = false;
  bool swap_bangpath = true;
  bool percent_hack = true;
  size_t tokens_max = 10'240;  // header_address_token_limit; what is behind it in a field that
                               // changes is lost. 0: none
};

// An address of the envelope, in internal form ("" for the null path).
std::string CompleteAddress(const AddressRewriting& rules, const mail::Address& address);

// The same of a sender; "" for mailer-daemon here: bounces that are sent under a name are bounces
// still.
std::string CompleteSender(const AddressRewriting& rules, const mail::Address& sender);

// The same of an address as words; `tokens` is not empty.
void CompleteTokens(const AddressRewriting& rules, mail::AddressTokens* tokens);

// `field`: name, colon and value, continuations behind LF, without the last LF. True: `*field` is
// another now. A field with a zero byte stays as it is.
bool RewriteAddressField(const AddressRewriting& rules, std::string* field);

// From one address of the list, in internal form, to another; nullopt: it stays.
using AddressMap = std::function<std::optional<std::string>(const std::string& address)>;
// As RewriteAddressField, with addresses that `map` gives; it is asked from the last to the first.
bool MapAddressField(const AddressMap& map, std::string* field);

// The addresses of `text`, completed, in internal form.
std::vector<std::string> ReadAddressList(const AddressRewriting& rules, std::string_view text);

}  // namespace postfleet::message
