// Mail that agents give back to the queue (core/forwarder.h), as local(8) forwards it: in front of
// it "Received: by HOST (Postfix)" with the new queue id, then the caller's fields and the
// contents.
//
// Contents go out chunk by chunk, each once the one before is on the queue's disk: kChunkBytes and
// one piece of the reader in memory for each mail. While the queue is away a mail waits
// kConnectMax for it to come, then it fails; a lost answer is asked for under the same submission
// id (libs/submission/enqueue_client.h), so that a mail is in the queue once.
//
// The connection has a loop of its own: its end waits for the network, not the agents.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <string>

#include "libs/base/clock.h"
#include "libs/message/local_time.h"
#include "libs/rpc/leader_channel.h"
#include "libs/runtime/event_loop.h"
#include "libs/submission/enqueue_client.h"
#include "services/delivery/core/forwarder.h"

namespace postfleet::delivery {

struct ForwarderOptions {
  std::string name = "delivery";  // for the queue's logs
  std::string myhostname;
  std::string mail_name = "Postfix";
  rpc::LeaderChannel queue;
  const Clock* clock = &SystemClock();
};

class QueueForwarder : public Forwarder {
 public:
  static constexpr size_t kChunkBytes = 128 * 1024;
  static constexpr std::chrono::seconds kConnectMax{10};

  // Callers live on `agents`, which must outlive this. Destroy it there, or once that loop has
  // ended: blocks until the connection is closed. Mail that is under way is answered no more.
  QueueForwarder(runtime::EventLoop& agents, ForwarderOptions options);
  ~QueueForwarder() override;

  void Submit(ForwardedMail mail, Done done) override;

 private:
  struct Job;
  using JobPointer = std::shared_ptr<Job>;

  // On the agents' loop.
  void Read(const JobPointer& job);
  void Take(const JobPointer& job, const absl::Status& status, const rpc::Payload& piece);
  void SendChunk(const JobPointer& job);
  void SendLast(const JobPointer& job);
  void Fail(const JobPointer& job, const absl::Status& status);
  void Answer(const JobPointer& job, const absl::Status& status);

  // On the connection's loop.
  void Connected();
  void Begin(const JobPointer& job);
  void Hand(const JobPointer& job, queue::v1::Submission submission, std::string content);
  void Sweep();

  runtime::EventLoop& agents_;
  const ForwarderOptions options_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();  // the agents' loop's
  std::set<JobPointer> jobs_;                                     // the agents' loop's
  message::LocalTime local_time_;                                 // the agents' loop's

  runtime::EventLoop loop_{"forwarder"};
  // On loop_.
  submission::BufferBudget budget_;
  submission::EnqueueClient enqueue_;
  runtime::Timer sweep_;
  std::deque<JobPointer> waiting_;  // for the queue
};

}  // namespace postfleet::delivery
