// What follows from a message's row alone: which queue it is in, whose chunks it has, the site of a
// recipient. Pure.
#pragma once

#include <string>
#include <string_view>

#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {

// Held or corrupt: it has no rows in intake and due, so nobody is given it.
inline bool IsParked(const state::MessageRow& row) {
  return row.held() || !row.corrupt_reason().empty();
}

// The durable queue that it is in: incoming, deferred, hold or corrupt; UNSPECIFIED: nothing of it
// is left. (Active is the dispatcher's word for some of incoming and deferred.)
v1::QueueName DurableQueueOf(const state::MessageRow& row);

// How many recipient rows it has.
inline uint32_t RowsOf(const state::MessageRow& row) {
  return row.pending() + row.deferred() + row.bounced();
}

// Whether the messages of a queue are in the queue index.
inline bool IsIndexed(v1::QueueName queue) {
  return queue == v1::QUEUE_NAME_DEFERRED || queue == v1::QUEUE_NAME_HOLD ||
         queue == v1::QUEUE_NAME_CORRUPT;
}

// The queue id that its chunks are stored under.
inline std::string_view BodyIdOf(std::string_view queue_id, const state::MessageRow& row) {
  return row.body_id().empty() ? queue_id : std::string_view(row.body_id());
}

// The domain of an address, as the site index and qshape have it: lower case (ASCII); empty when
// there is none. Bytes 0 and 0xff, which no domain has, become `?`.
std::string SiteOf(std::string_view address);

}  // namespace postfleet::queue
