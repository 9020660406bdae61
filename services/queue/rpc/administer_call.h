// One Administer: one action on the messages named.
//
// Who is active is the dispatcher's word, so what is asked of `active` is asked of incoming and
// deferred for those that are. A requeue must meet no attempt: its messages are withheld, those
// that are free go first, and those that are out once their attempts have ended. What is still out
// after kRequeueWaitMax is left as it was.
//
// State loop only. The call lives until it has answered.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/rpc/withholding.h"

namespace postfleet::queue {

class AdministerCall : public std::enable_shared_from_this<AdministerCall> {
 public:
  // Longer than an attempt takes that has sent its final dot (smtp_data_done_timeout is 600 s, but
  // few wait for that); shorter than commands wait.
  static constexpr std::chrono::seconds kRequeueWaitMax{240};

  struct World {
    Dispatcher* dispatcher;
    Withholding* withholding;
    CommitPipeline* pipeline;
  };
  // `request` and `response` live until `done`.
  AdministerCall(const World& world, const v1::AdministerRequest* request,
                 v1::AdministerResponse* response, std::function<void(grpc::Status)> done)
      : world_(world), request_(request), response_(response), done_(std::move(done)) {}

  void Begin();

 private:
  struct Part {
    std::vector<std::string> queue_ids;
    // Of the command: durable ones; empty: all.
    std::vector<v1::QueueName> queues;
  };

  std::vector<Part> PartsByActivity() const;
  void Run(Part part);
  void Propose(const Part& part, const std::vector<std::string>& queue_ids);
  void OnApplied(const Part& part, const absl::StatusOr<const Effects*>& effects);
  void EndPart(const Part& part);
  bool IsRequeue() const { return request_->action() == v1::ACTION_REQUEUE; }

  const World world_;
  const v1::AdministerRequest* const request_;
  v1::AdministerResponse* const response_;
  const std::function<void(grpc::Status)> done_;

  size_t parts_left_ = 0;
  grpc::Status status_;
  // What was changed, and its new id.
  absl::flat_hash_map<std::string, std::string> changed_;
};

}  // namespace postfleet::queue
