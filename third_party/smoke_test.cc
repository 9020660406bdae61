// The libraries that carry the system link, load and run together: gRPC with
// generated stubs over an in-process channel, and RocksDB on a disk.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "third_party/smoke.grpc.pb.h"

namespace postfleet {
namespace {

class EchoService final : public smoke::Echo::Service {
 public:
  grpc::Status Say(grpc::ServerContext*, const smoke::Line* request,
                   smoke::Line* response) override {
    if (request->text().empty()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "nothing was said"};
    }
    response->set_text(request->text() + "!");
    return grpc::Status::OK;
  }
};

class InProcessEcho : public testing::Test {
 protected:
  InProcessEcho()
      : server_(grpc::ServerBuilder().RegisterService(&service_).BuildAndStart()),
        stub_(smoke::Echo::NewStub(server_->InProcessChannel({}))) {}

  absl::StatusOr<std::string> Say(const std::string& text) {
    grpc::ClientContext context;
    smoke::Line request, response;
    request.set_text(text);
    const grpc::Status status = stub_->Say(&context, request, &response);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
    return response.text();
  }

 private:
  EchoService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<smoke::Echo::Stub> stub_;
};

TEST_F(InProcessEcho, AnswersWhatWasSaid) {
  const auto answer = Say("hello");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "hello!");
}

TEST_F(InProcessEcho, CarriesTheServersStatusToTheCaller) {
  EXPECT_EQ(Say("").status(), absl::InvalidArgumentError("nothing was said"));
}

TEST(RocksDb, KeepsWhatWasWrittenWhenItIsOpenedAgain) {
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/smoke_db";
  rocksdb::Options options;
  options.create_if_missing = true;
  for (const bool first : {true, false}) {
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, path, &opened);
    ASSERT_TRUE(status.ok()) << status.ToString();
    const std::unique_ptr<rocksdb::DB> db(opened);
    std::string value;
    if (first) {
      ASSERT_TRUE(db->Get({}, "key", &value).IsNotFound());
      ASSERT_TRUE(db->Put({}, "key", "value").ok());
    } else {
      ASSERT_TRUE(db->Get({}, "key", &value).ok());
      EXPECT_EQ(value, "value");
    }
  }
}

}  // namespace
}  // namespace postfleet
