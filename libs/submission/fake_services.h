// For tests: a queue and a lookup in this process, behind one channel. here.example and localhost
// are ours.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/rpc/outbox.h"
#include "libs/rpc/stream.h"
#include "proto/postfleet/lookup/v1/lookup.grpc.pb.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::submission {

class FakeServices {
 public:
  struct Message {
    std::string queue_id;
    std::string content;
    queue::v1::NewMessage message;
  };

  // `keep`: false drops contents, for benchmarks.
  explicit FakeServices(bool keep = true);
  ~FakeServices();

  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  std::vector<Message> messages();
  std::vector<std::string> flushed_sites();
  int registrations();

  // Blocks until another submission came, after the ones that were waited for.
  queue::v1::SubmissionId WaitForSubmission();
  void WaitForRegistrations(int count);
  void WaitForQueries(int count);
  // Since the start: streams opened, calls refused because the queue is away.
  void WaitForEnqueueStreams(int count);
  void WaitForRefusals(int count);
  void CutEnqueueStreams();
  void CutResolveStreams();
  // Ends hold_results, and answers what is held.
  void Release();
  void ReleaseAnswers();
  // Sends a result of nobody's on each stream.
  void SendFlags();

  // The queue answers no calls; streams are cut by hand.
  std::atomic<bool> queue_away{false};
  std::atomic<bool> hold_results{false};
  std::atomic<bool> hold_answers{false};
  // Said with each result.
  std::atomic<bool> queue_behind{false};
  std::atomic<bool> queue_wait{false};
  std::atomic<queue::v1::EnqueueResult::Code> next_code{queue::v1::EnqueueResult::COMMITTED};

 private:
  struct Service;
  struct EnqueuePeer;
  struct ResolvePeer;

  grpc::Status Call();
  void OnEnqueue(EnqueuePeer& peer, grpc::ByteBuffer frame);
  void OnResolve(ResolvePeer& peer, grpc::ByteBuffer frame);

  const bool keep_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int registrations_ = 0;
  int queries_ = 0;
  int enqueue_streams_ = 0;
  int refusals_ = 0;
  std::vector<queue::v1::SubmissionId> submissions_;
  size_t waited_for_ = 0;
  std::map<std::string, std::string> uploads_;
  std::vector<Message> messages_;
  std::vector<std::string> flushed_sites_;
  std::vector<std::shared_ptr<EnqueuePeer>> enqueue_peers_;
  std::vector<std::shared_ptr<ResolvePeer>> resolve_peers_;

  struct Services;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace postfleet::submission
