#include "services/queue/state/message_queue.h"

namespace postfleet::queue {

v1::QueueName DurableQueueOf(const state::MessageRow& row) {
  if (RowsOf(row) == 0 && !row.salvaged()) {
    return v1::QUEUE_NAME_UNSPECIFIED;
  }
  if (!row.corrupt_reason().empty()) return v1::QUEUE_NAME_CORRUPT;
  if (row.held()) return v1::QUEUE_NAME_HOLD;
  return row.pending() == 0 && row.deferred() > 0 ? v1::QUEUE_NAME_DEFERRED
                                                  : v1::QUEUE_NAME_INCOMING;
}

std::string SiteOf(std::string_view address) {
  const size_t at = address.rfind('@');
  if (at == std::string_view::npos) return {};
  std::string site(address.substr(at + 1));
  for (char& byte : site) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
    if (byte == '\0' || byte == '\xff') byte = '?';
  }
  return site;
}

}  // namespace postfleet::queue
