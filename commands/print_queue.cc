#include "commands/print_queue.h"

#include "commands/queue_pages.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

// A message that leaves the queue meanwhile keeps the recipients that it came with.
absl::StatusOr<v1::ListedMessage> WithAllRecipients(QueueClient& client,
                                                    const v1::ListedMessage& listed) {
  v1::ListedMessage message = listed;
  message.clear_recipients();
  uint32_t from = 0;
  for (bool more = true; more;) {
    const absl::StatusOr<v1::InspectResponse> part = client.Inspect(listed.queue_id(), from);
    // The public socket lets nobody look into a message: its first recipients have to do.
    if (absl::IsUnimplemented(part.status())) return listed;
    if (!part.ok()) return part.status();
    if (!part->found()) return listed;
    for (const v1::InspectedRecipient& inspected : part->recipients()) {
      v1::ListedRecipient* recipient = message.add_recipients();
      recipient->set_address(inspected.recipient().address());
      if (inspected.state() == v1::InspectedRecipient::DEFERRED) {
        recipient->set_reason(inspected.last().text());
      }
      from = inspected.recipient().number() + 1;
    }
    more = part->more() && !part->recipients().empty();
  }
  return message;
}

}  // namespace

int PrintQueue(QueueClient& client, Console& console, std::string_view what,
               const std::vector<v1::QueueName>& queues,
               const std::function<std::string(const v1::ListedMessage&)>& format) {
  v1::ListRequest request;
  *request.mutable_queues() = {queues.begin(), queues.end()};
  QueuePages pages(client, std::move(request));
  while (true) {
    const absl::StatusOr<const v1::ListResponse*> page = pages.Next();
    if (!page.ok()) return CallFailed(console, what, page.status());
    if (*page == nullptr) return 0;
    for (const v1::ListedMessage& message : (*page)->messages()) {
      if (!message.recipients_more()) {
        if (!console.Write(format(message))) return console.WriteFailed();
        continue;
      }
      const absl::StatusOr<v1::ListedMessage> whole = WithAllRecipients(client, message);
      if (!whole.ok()) return CallFailed(console, what, whole.status());
      if (!console.Write(format(*whole))) return console.WriteFailed();
    }
  }
}

}  // namespace postfleet::commands
