// The queue's listing, page by page: the next page is asked for while the present one is looked at.
//
//   QueuePages pages(client, request);
//   while (true) {
//     const absl::StatusOr<const ListResponse*> page = pages.Next();
//     if (!page.ok()) ...
//     if (*page == nullptr) break;
//   }
//
// Two pages are in memory at most, of up to kPageMessages each. The destructor cancels what is
// under way. Errors as QueueClient has them, and Internal when the server's cursor does not move
// on.
#pragma once

#include <grpcpp/completion_queue.h>

#include <memory>

#include "absl/status/statusor.h"
#include "commands/queue_client.h"

namespace postfleet::commands {

inline constexpr uint32_t kPageMessages = 1'000;
// The first page is shown sooner.
inline constexpr uint32_t kFirstPageMessages = 100;

class QueuePages {
 public:
  // Begins at `request`'s cursor. `client` must outlive it.
  QueuePages(QueueClient& client, queue::v1::ListRequest request);
  QueuePages(const QueuePages&) = delete;
  QueuePages& operator=(const QueuePages&) = delete;
  ~QueuePages();

  // Valid until the next call; nullptr: there are no more. A page may be empty.
  absl::StatusOr<const queue::v1::ListResponse*> Next();

 private:
  struct Asked;
  void Ask();

  QueueClient& client_;
  queue::v1::ListRequest request_;
  queue::v1::ListResponse page_;
  grpc::CompletionQueue completions_;
  std::unique_ptr<Asked> asked_;  // at most one at a time
};

}  // namespace postfleet::commands
