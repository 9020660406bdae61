// For tests: a queue service of messages in a map, and the commands run against it as main runs
// them.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "commands/command_run.h"
#include "commands/command_table.h"
#include "libs/base/concat.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::commands {

// Keeps messages by id, and what it was asked. Does as the contract says of each call.
class FakeQueue final : public queue::v1::Queue::Service {
 public:
  using QueueName = queue::v1::QueueName;
  using Action = queue::v1::Action;

  void Add(const std::string& queue_id, QueueName queue) {
    queue::v1::ListedMessage& message = messages_[queue_id];
    message.set_queue_id(queue_id);
    message.set_queue(queue);
    message.set_message_bytes(1000);
    message.set_sender("s@example.org");
    message.add_recipients()->set_address("r@example.org");
  }
  queue::v1::InspectedRecipient* AddInspected(const std::string& queue_id,
                                              const std::string& address) {
    queue::v1::InspectResponse& message = inspected_[queue_id];
    message.set_found(true);
    queue::v1::InspectedRecipient* recipient = message.add_recipients();
    recipient->mutable_recipient()->set_number(
        static_cast<uint32_t>(message.recipients_size() - 1));
    recipient->mutable_recipient()->set_address(address);
    recipient->set_state(queue::v1::InspectedRecipient::PENDING);
    message.set_recipients_total(static_cast<uint32_t>(message.recipients_size()));
    return recipient;
  }

  grpc::Status List(grpc::ServerContext*, const queue::v1::ListRequest* request,
                    queue::v1::ListResponse* response) override {
    asked_.push_back(Concat("list after '", request->after_queue_id(), "'"));
    if (!denied_.empty()) return {grpc::StatusCode::PERMISSION_DENIED, denied_};
    if (list_fails_) return {grpc::StatusCode::INTERNAL, "the disk is damaged"};
    int seen = 0;
    for (auto at = messages_.upper_bound(request->after_queue_id()); at != messages_.end(); ++at) {
      if (response->messages_size() == page_messages_ || (empty_pages_ && seen == page_messages_)) {
        response->set_more(true);
        break;
      }
      ++seen;
      if (!cursor_stands_still_) response->set_next_queue_id(at->first);
      if (!Named(request->queue_ids(), at->first)) continue;
      if (InQueues(request->queues(), at->second)) *response->add_messages() = at->second;
    }
    return grpc::Status::OK;
  }

  grpc::Status Administer(grpc::ServerContext*, const queue::v1::AdministerRequest* request,
                          queue::v1::AdministerResponse* response) override {
    asked_.push_back(Concat(Name(request->action()), " ", request->queue_ids_size()));
    for (const int queue : request->queues()) {
      ConcatTo(&asked_.back(), " ", Name(static_cast<QueueName>(queue)));
    }
    if (administer_fails_) return {grpc::StatusCode::INTERNAL, "the disk is damaged"};
    for (const std::string& queue_id : request->queue_ids()) {
      const auto found = messages_.find(queue_id);
      if (found == messages_.end() || !InQueues(request->queues(), found->second)) continue;
      if (!Change(request->action(), found->first)) continue;
      response->add_changed(queue_id);
      if (request->action() == queue::v1::ACTION_REQUEUE) {
        response->add_new_queue_ids(queue_id + "z");
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status AdministerAll(
      grpc::ServerContext*, const queue::v1::AdministerAllRequest* request,
      grpc::ServerWriter<queue::v1::AdministerAllProgress>* writer) override {
    asked_.push_back(Concat(request->dry_run() ? "count " : "", Name(request->action()), " ALL"));
    for (const int queue : request->queues()) {
      ConcatTo(&asked_.back(), " ", Name(static_cast<QueueName>(queue)));
    }
    std::vector<std::string> queue_ids;
    for (const auto& [queue_id, message] : messages_) {
      if (InQueues(request->queues(), message)) queue_ids.push_back(queue_id);
    }
    queue::v1::AdministerAllProgress progress;
    progress.set_total(queue_ids.size());
    for (const std::string& queue_id : queue_ids) {
      if (request->dry_run() || !Change(request->action(), queue_id)) continue;
      progress.set_changed(progress.changed() + 1);
      writer->Write(progress);
    }
    if (all_breaks_) return {grpc::StatusCode::UNAVAILABLE, "gone"};
    progress.set_done(true);
    progress.set_freed_bytes(freed_bytes_);
    writer->Write(progress);
    return grpc::Status::OK;
  }

  grpc::Status Stat(grpc::ServerContext*, const queue::v1::StatRequest*,
                    queue::v1::StatResponse*) override {
    return grpc::Status::OK;
  }

  grpc::Status ListJobs(grpc::ServerContext*, const queue::v1::ListJobsRequest*,
                        queue::v1::ListJobsResponse* response) override {
    *response = jobs_;
    return grpc::Status::OK;
  }

  grpc::Status StopJob(grpc::ServerContext*, const queue::v1::StopJobRequest* request,
                       queue::v1::StopJobResponse* response) override {
    asked_.push_back(Concat("stop job ", request->id()));
    for (const queue::v1::Job& job : jobs_.jobs()) {
      if (job.id() == request->id()) response->set_stopped(true);
    }
    return grpc::Status::OK;
  }

  grpc::Status Flush(grpc::ServerContext*, const queue::v1::FlushRequest* request,
                     queue::v1::FlushResponse*) override {
    asked_.push_back(Concat("flush '", request->site(), "'"));
    return grpc::Status::OK;
  }

  // Pages of three.
  grpc::Status Inspect(grpc::ServerContext*, const queue::v1::InspectRequest* request,
                       queue::v1::InspectResponse* response) override {
    asked_.push_back(Concat("inspect ", request->queue_id(), " from ", request->from_recipient()));
    const auto found = inspected_.find(request->queue_id());
    if (found == inspected_.end()) return grpc::Status::OK;
    *response = found->second;
    response->clear_recipients();
    for (const auto& recipient : found->second.recipients()) {
      if (recipient.recipient().number() < request->from_recipient()) continue;
      if (response->recipients_size() == 3) {
        response->set_more(true);
        break;
      }
      *response->add_recipients() = recipient;
    }
    return grpc::Status::OK;
  }

  grpc::Status Fetch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<queue::v1::FetchResponse, queue::v1::FetchRequest>*
                         stream) override {
    queue::v1::FetchRequest request;
    while (stream->Read(&request)) {
      queue::v1::FetchResponse response;
      response.set_queue_id(request.queue_id());
      response.set_chunk(request.chunk());
      response.set_found(request.chunk() < contents_.size());
      if (response.found()) response.set_payload(contents_[request.chunk()]);
      response.set_corrupt(corrupt_chunks_.contains(request.chunk()));
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status Shape(grpc::ServerContext*, const queue::v1::ShapeRequest* request,
                     queue::v1::ShapeResponse* response) override {
    shape_request_ = *request;
    *response = shape_;
    return grpc::Status::OK;
  }

  grpc::Status Verify(grpc::ServerContext*, const queue::v1::VerifyRequest*,
                      grpc::ServerWriter<queue::v1::VerifyProgress>* writer) override {
    for (const queue::v1::VerifyProgress& progress : verify_) writer->Write(progress);
    return grpc::Status::OK;
  }

  // Set before calls; read after them.
  std::map<std::string, queue::v1::ListedMessage> messages_;
  std::map<std::string, queue::v1::InspectResponse> inspected_;
  std::vector<std::string> contents_;
  std::set<uint32_t> corrupt_chunks_;
  queue::v1::ShapeRequest shape_request_;
  queue::v1::ShapeResponse shape_;
  std::vector<queue::v1::VerifyProgress> verify_;
  queue::v1::ListJobsResponse jobs_;
  std::vector<std::string> asked_;
  int page_messages_ = 2;
  // Pages count what is looked at, not what is wanted.
  bool empty_pages_ = false;
  bool cursor_stands_still_ = false;
  bool list_fails_ = false;
  std::string denied_;
  bool administer_fails_ = false;
  bool all_breaks_ = false;
  uint64_t freed_bytes_ = 0;

 private:
  // "DELETE", "HOLD".
  static std::string Name(Action action) {
    return queue::v1::Action_Name(action).substr(std::string_view("ACTION_").size());
  }
  static std::string Name(QueueName queue) {
    return queue::v1::QueueName_Name(queue).substr(std::string_view("QUEUE_NAME_").size());
  }
  template <typename Ids>
  static bool Named(const Ids& ids, const std::string& queue_id) {
    return ids.empty() || std::find(ids.begin(), ids.end(), queue_id) != ids.end();
  }
  template <typename Queues>
  static bool InQueues(const Queues& queues, const queue::v1::ListedMessage& message) {
    return queues.empty() ||
           std::find(queues.begin(), queues.end(), message.queue()) != queues.end();
  }

  bool Change(Action action, const std::string& queue_id) {
    queue::v1::ListedMessage& message = messages_[queue_id];
    const bool parked = message.queue() == queue::v1::QUEUE_NAME_HOLD ||
                        message.queue() == queue::v1::QUEUE_NAME_CORRUPT;
    switch (action) {
      case queue::v1::ACTION_DELETE:
        return messages_.erase(queue_id) > 0;
      case queue::v1::ACTION_HOLD:
        if (parked) return false;
        message.set_queue(queue::v1::QUEUE_NAME_HOLD);
        return true;
      case queue::v1::ACTION_RELEASE:
        if (!parked) return false;
        message.set_queue(queue::v1::QUEUE_NAME_DEFERRED);
        return true;
      case queue::v1::ACTION_EXPIRE:
        if (message.forced_expire()) return false;
        message.set_forced_expire(true);
        return true;
      case queue::v1::ACTION_REQUEUE: {
        queue::v1::ListedMessage again = message;
        messages_.erase(queue_id);
        again.set_queue_id(queue_id + "z");
        again.set_queue(queue::v1::QUEUE_NAME_INCOMING);
        messages_[again.queue_id()] = again;
        return true;
      }
      default:
        return message.queue() == queue::v1::QUEUE_NAME_DEFERRED;
    }
  }
};

class QueueCommandsTest : public testing::Test {
 protected:
  // Where other users can come, too: the folder that the test is given may lie below root's home.
  QueueCommandsTest() : folder_("/tmp/commands_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&queue_);
    server_ = builder.BuildAndStart();
    address_ = Concat("127.0.0.1:", port);
    WriteFile("master.cf", "smtp unix - - n - - smtp\n");
    WriteMainCf("");
  }
  ~QueueCommandsTest() override { std::filesystem::remove_all(folder_); }

  void WriteFile(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  static std::string ReadFile(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  void WriteMainCf(const std::string& more) {
    WriteFile("main.cf",
              Concat("compatibility_level = 3.6\nmyhostname = mail.example.com\n"
                     "queue_directory = ",
                     folder_, "/spool\npostfleet_queue_address = ", address_, "\n", more));
  }

  // "postqueue", "-p", ...: through links of these names.
  CommandResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments[0].insert(0, "/usr/sbin/");
    return Capture(
        input, [&](const Streams& streams) { return RunCommandLine(arguments, folder_, streams); });
  }

  std::string folder_;
  std::string address_;
  FakeQueue queue_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace postfleet::commands
