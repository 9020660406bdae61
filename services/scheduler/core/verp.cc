#include "services/scheduler/core/verp.h"

#include <string>
#include <string_view>

#include "libs/base/concat.h"

namespace postfleet::scheduler {
namespace {

struct Halves {
  std::string_view user;
  std::string_view domain;
};

Halves Split(std::string_view address) {
  const size_t at = address.rfind('@');
  if (at == std::string_view::npos) return {.user = address, .domain = {}};
  return {.user = address.substr(0, at), .domain = address.substr(at + 1)};
}

}  // namespace

bool IsVerp(const mail::v1::Envelope& envelope) {
  return envelope.verp_delimiters().size() == 2 && !envelope.sender().empty();
}

void SetVerpSender(const mail::v1::Recipient& recipient, mail::v1::Envelope* envelope) {
  const std::string& asked_for = recipient.original_address();
  const Halves to = Split(asked_for.empty() ? recipient.address() : asked_for);
  const Halves from = Split(envelope->sender());
  const std::string_view delimiters = envelope->verp_delimiters();
  std::string sender = Concat(from.user, delimiters.substr(0, 1), to.user);
  if (!to.domain.empty()) ConcatTo(&sender, delimiters.substr(1, 1), to.domain);
  if (!from.domain.empty()) ConcatTo(&sender, "@", from.domain);
  envelope->set_sender(std::move(sender));
}

}  // namespace postfleet::scheduler
