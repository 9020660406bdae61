// Prints the messages of some queues, page by page, in the order of their ids.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "commands/console.h"
#include "commands/queue_client.h"

namespace postfleet::commands {

// Those that Postfix lists: all but corrupt.
inline const std::vector<queue::v1::QueueName> kPostfixQueues = {
    queue::v1::QUEUE_NAME_INCOMING, queue::v1::QUEUE_NAME_ACTIVE, queue::v1::QUEUE_NAME_DEFERRED,
    queue::v1::QUEUE_NAME_HOLD};

// Writes what `format` makes of each message, which has all its recipients: those beyond a page's
// are asked for. 0, or the exit status after saying why ("WHAT - mail system is down"). A reader
// that has gone ends it at once.
int PrintQueue(QueueClient& client, Console& console, std::string_view what,
               const std::vector<queue::v1::QueueName>& queues,
               const std::function<std::string(const queue::v1::ListedMessage&)>& format);

}  // namespace postfleet::commands
