// The service and a client of its stream, in one process.
#include "services/lookup/lookup_service.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "libs/config/diagnostics.h"
#include "libs/rpc/payload.h"
#include "services/lookup/core/resolver_parameters.h"

namespace postfleet::lookup {
namespace {

config::Config Configuration(const std::string& main_cf) {
  config::Diagnostics diagnostics;
  return config::Config::FromText(
             "compatibility_level = 3.6\nmyhostname = mx.example.com\nalias_maps =\n"
             "local_recipient_maps =\n" +
                 main_cf,
             "smtp unix - - n - - smtp\n", {.hostname = "mx.example.com"}, diagnostics)
      .value();
}

class LookupServiceTest : public testing::Test {
 protected:
  LookupServiceTest()
      : service_(Resolver::Open(ResolverParameters::From(Configuration("relayhost = [before]\n")))
                     .value()) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    service_.Start();
    stream_ = rpc::OpenStream(server_->InProcessChannel({}), "/postfleet.lookup.v1.Lookup/Resolve",
                              {.next_frame =
                                   [this](grpc::ByteBuffer* frame) {
                                     std::vector<v1::ResolveRequest> asked = asked_.TakeAll();
                                     if (asked.empty()) return false;
                                     *frame = rpc::EncodeFrame(asked.front(), {});
                                     return true;
                                   },
                               .on_frame = [this](const grpc::ByteBuffer& frame) { Take(frame); },
                               .on_closed =
                                   [this](const grpc::Status&) {
                                     std::lock_guard lock(mutex_);
                                     closed_ = true;
                                     changed_.notify_all();
                                   }});
  }

  ~LookupServiceTest() override {
    stream_->Cancel();
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closed_; });
    }
    server_->Shutdown(std::chrono::system_clock::now());
    service_.Stop();
  }

  v1::ResolveResponse Next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !frames_.empty(); })) {
      ADD_FAILURE() << "no frame came";
      return {};
    }
    v1::ResolveResponse response = std::move(frames_.front());
    frames_.pop_front();
    return response;
  }

  v1::ResolveResponse Ask(const std::string& recipient) {
    v1::ResolveRequest request;
    request.add_queries()->set_recipient(recipient);
    asked_.Add(request);
    stream_->Kick();
    return Next();
  }

  LookupService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<v1::ResolveRequest> asked_;

 private:
  void Take(const grpc::ByteBuffer& frame) {
    v1::ResolveResponse response;
    rpc::Payload none;
    EXPECT_TRUE(rpc::DecodeFrame(frame, &response, &none));
    std::lock_guard lock(mutex_);
    frames_.push_back(std::move(response));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::ResolveResponse> frames_;
  bool closed_ = false;
};

TEST_F(LookupServiceTest, ANewConfigurationIsToldAtOnceAndAnswersWhatComesAfter) {
  const uint64_t before = Next().configuration();
  EXPECT_NE(before, 0u);
  v1::ResolveResponse response = Ask("x@d.example");
  EXPECT_EQ(response.configuration(), before);
  EXPECT_EQ(response.answers(0).nexthop(), "[before]");

  const auto commit = service_.Prepare(Configuration("relayhost = [after]\n"));
  ASSERT_TRUE(commit.ok()) << commit.status();
  EXPECT_EQ(Ask("x@d.example").answers(0).nexthop(), "[before]") << "not yet";
  (*commit)();
  response = Next();
  EXPECT_EQ(response.answers_size(), 0);
  EXPECT_NE(response.configuration(), before);
  EXPECT_EQ(Ask("x@d.example").answers(0).nexthop(), "[after]");
}

}  // namespace
}  // namespace postfleet::lookup
