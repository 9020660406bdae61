// A message's contents, chunk by chunk, over one Fetch stream: the next chunks are asked for while
// one is looked at, so that at most kChunksAhead + 1 of them are in memory.
//
//   QueueContents contents(client, queue_id, chunks);
//   while (true) {
//     const absl::StatusOr<const FetchResponse*> chunk = contents.Next();
//     if (!chunk.ok()) ...
//     if (*chunk == nullptr) break;
//   }
//
// A chunk that is missing or corrupt is an answer like others: look at it. No deadline: a reader
// may take its time. The destructor ends the stream.
#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "commands/queue_client.h"

namespace postfleet::commands {

inline constexpr uint32_t kChunksAhead = 4;

class QueueContents {
 public:
  QueueContents(QueueClient& client, std::string queue_id, uint32_t chunks);
  QueueContents(const QueueContents&) = delete;
  QueueContents& operator=(const QueueContents&) = delete;
  ~QueueContents();

  // Valid until the next call; nullptr: that were all.
  absl::StatusOr<const queue::v1::FetchResponse*> Next();

 private:
  const std::string queue_id_;
  const uint32_t chunks_;
  uint32_t asked_ = 0;
  uint32_t answered_ = 0;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<queue::v1::FetchRequest, queue::v1::FetchResponse>>
      stream_;
  bool finished_ = false;  // gRPC lets Finish be called once
  queue::v1::FetchResponse chunk_;
};

}  // namespace postfleet::commands
