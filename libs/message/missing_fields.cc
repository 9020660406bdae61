#include "libs/message/missing_fields.h"

#include "libs/mail/address.h"
#include "libs/message/known_fields.h"

namespace postfleet::message {
void AppendMissingFields(const MissingFields& fields, uint8_t seen, std::string* out,
                         std::string* message_id) {
  const bool resent = (seen & kSeenResent) != 0;
  const auto add = [resent, out](std::string_view name, std::string_view value) {
    if (resent) out->append("Resent-");
    out->append(name).append(": ").append(value).push_back('\n');
  };
  if ((seen & (resent ? kSeenResentMessageId : kSeenMessageId)) == 0) {
    *message_id = FormatMessageId(fields.queue_id, fields.myhostname);
    add("Message-Id", *message_id);
  }
  if ((seen & (resent ? kSeenResentDate : kSeenDate)) == 0)
    add("Date", FormatMailDate(fields.time));
  if ((seen & (resent ? kSeenResentFrom : kSeenFrom)) == 0) {
    add("From", fields.sender.empty() ? "MAILER-DAEMON" : mail::QuoteAddress(fields.sender));
  }
  if ((seen & kSeenRecipient) == 0 && !fields.undisclosed_recipients.empty()) {
    out->append(fields.undisclosed_recipients).push_back('\n');
  }
}

}  // namespace postfleet::message
