#include "libs/message/known_fields.h"

namespace postfleet::message {
namespace {

// Sorted by length, then by how common they are: names are compared by length first.
constexpr KnownField kFields[] = {
    {"to", kSeenRecipient, true},
    {"cc", kSeenRecipient, true},
    {"bcc", 0, true},
    {"from", kSeenFrom, true},
    {"date", kSeenDate, false},
    {"sender", 0, true},
    {"reply-to", 0, true},
    {"errors-to", 0, true},
    {"resent-to", kSeenRecipient | kSeenResent, true},
    {"resent-cc", kSeenRecipient | kSeenResent, true},
    {"message-id", kSeenMessageId, false},
    {"resent-bcc", kSeenResent, true},
    {"return-path", 0, true},
    {"resent-from", kSeenResentFrom | kSeenResent, true},
    {"resent-date", kSeenResentDate | kSeenResent, false},
    {"apparently-to", 0, true},
    {"resent-sender", kSeenResent, true},
    {"resent-reply-to", kSeenResent, true},
    {"mail-followup-to", 0, true},
    {"return-receipt-to", 0, true},
    {"resent-message-id", kSeenResentMessageId | kSeenResent, false},
    {"disposition-notification-to", 0, true},
};

}  // namespace

const KnownField* FindKnownField(std::string_view name) {
  for (const KnownField& field : kFields) {
    if (field.name.size() < name.size()) continue;
    if (field.name.size() > name.size()) break;
    if (field.name == name) return &field;
  }
  return nullptr;
}

}  // namespace postfleet::message
