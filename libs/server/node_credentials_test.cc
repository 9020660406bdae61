// With certificates that openssl(1) makes, and real connections on loopback.
#include "libs/server/node_credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

using testing::HasSubstr;

// Answers every call with OK.
class Answering final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    class Ok final : public grpc::ServerGenericBidiReactor {
     public:
      Ok() { Finish(grpc::Status::OK); }
      void OnDone() override { delete this; }
    };
    return new Ok;
  }
};

class NodeCredentials : public testing::Test {
 protected:
  NodeCredentials()
      : folder_(testing::TempDir() + "/" +
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/etc");
    std::ofstream(folder_ + "/etc/master.cf").flush();
  }

  void Run(const std::string& command) {
    ASSERT_EQ(std::system(Concat("cd ", folder_, " && ", command, " >/dev/null 2>&1").c_str()), 0)
        << command;
  }
  // NAME.pem and NAME.key for 127.0.0.1, issued by ISSUER.
  void Issue(const std::string& issuer, const std::string& name) {
    if (!std::filesystem::exists(Concat(folder_, "/", issuer, ".pem"))) {
      Run(Concat("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=", issuer,
                 " -keyout ", issuer, ".key -out ", issuer, ".pem"));
    }
    std::ofstream(folder_ + "/san") << "subjectAltName=IP:127.0.0.1\n";
    Run(Concat("openssl req -newkey rsa:2048 -nodes -subj /CN=", name, " -keyout ", name,
               ".key -out request"));
    Run(Concat("openssl x509 -req -in request -days 2 -CA ", issuer, ".pem -CAkey ", issuer,
               ".key -CAcreateserial -extfile san -out ", name, ".pem"));
  }
  absl::Status Use(const std::string& main_cf) {
    std::ofstream(folder_ + "/etc/main.cf") << main_cf;
    config::Diagnostics diagnostics;
    const auto config = config::Config::Load(folder_ + "/etc", diagnostics);
    if (!config.ok()) return config.status();
    return UseNodeCredentials(*config, /*files_check_seconds=*/1);
  }
  absl::Status UseCertificate(const std::string& name, const std::string& issuer) {
    return Use(Concat("postfleet_cluster_tls_cert_file = ", folder_, "/", name,
                      ".pem\npostfleet_cluster_tls_key_file = ", folder_, "/", name,
                      ".key\npostfleet_cluster_tls_CAfile = ", folder_, "/", issuer, ".pem\n"));
  }

  // At a free port, by what is in use now.
  void Serve() {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    builder.AddListeningPort("127.0.0.1:0", ServerCredentials("127.0.0.1:0"), &port_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  // A new connection, by what is in use now.
  bool CanCall() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const std::string address = Concat("127.0.0.1:", port_);
    const auto channel = grpc::CreateCustomChannel(address, ChannelCredentials(address), arguments);
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Slice nothing;
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> ended;
    stub.UnaryCall(&context, "/any/Call", {}, &request, &response,
                   [&ended](grpc::Status status) { ended.set_value(std::move(status)); });
    const grpc::Status status = ended.get_future().get();
    // The service answers without a message.
    return status.error_code() != grpc::StatusCode::UNAVAILABLE &&
           status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED;
  }

  const std::string folder_;
  Answering service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(NodeCredentials, BothSidesHaveACertificateOfTheSameIssuer) {
  Issue("ca", "node");
  ASSERT_TRUE(UseCertificate("node", "ca").ok());
  Serve();
  EXPECT_TRUE(CanCall());
}

TEST_F(NodeCredentials, PlaintextIsRefusedByWhoServesTls) {
  Issue("ca", "node");
  ASSERT_TRUE(UseCertificate("node", "ca").ok());
  Serve();
  ASSERT_TRUE(Use("").ok());
  EXPECT_FALSE(CanCall());
}

TEST_F(NodeCredentials, ACertificateOfAnotherIssuerIsRefused) {
  Issue("ca", "node");
  Issue("other", "stranger");
  ASSERT_TRUE(UseCertificate("node", "ca").ok());
  Serve();
  // It believes the server, and is not believed.
  ASSERT_TRUE(UseCertificate("stranger", "ca").ok());
  EXPECT_FALSE(CanCall());
  // And the other way round.
  Issue("other", "node2");
  ASSERT_TRUE(UseCertificate("node2", "other").ok());
  EXPECT_FALSE(CanCall());
}

TEST_F(NodeCredentials, ARenewedCertificateIsTakenWithoutAStart) {
  Issue("ca", "node");
  ASSERT_TRUE(UseCertificate("node", "ca").ok());
  Serve();
  ASSERT_TRUE(CanCall());
  // The issuer changes too: nobody who has the old one gets in once it was read.
  Issue("new", "renewed");
  Run("cp renewed.key node.key && cp renewed.pem node.pem && cp new.pem ca.pem");
  ASSERT_TRUE(UseCertificate("renewed", "new").ok());
  while (!CanCall()) {
  }
}

TEST_F(NodeCredentials, WhatCannotBeUsedIsNamed) {
  Issue("ca", "node");
  Issue("ca", "second");
  EXPECT_THAT(std::string(UseCertificate("missing", "ca").message()),
              HasSubstr("postfleet_cluster_tls_cert_file: cannot use"));
  Run("cp second.key node.key");
  EXPECT_THAT(std::string(UseCertificate("node", "ca").message()),
              HasSubstr("postfleet_cluster_tls_key_file: cannot use"));
  EXPECT_THAT(std::string(Use("postfleet_cluster_tls_CAfile = /nowhere\n").message()),
              HasSubstr("set all of"));
}

TEST_F(NodeCredentials, OtherHostsAreSpokenToInPlaintextByAnExplicitWordOnly) {
  const std::string elsewhere = "postfleet_lookup_address = 192.0.2.1:7003\n";
  EXPECT_THAT(std::string(Use(elsewhere).message()),
              HasSubstr("192.0.2.1:7003 is not on this host"));
  EXPECT_TRUE(Use(elsewhere + "postfleet_cluster_plaintext = yes\n").ok());
  EXPECT_TRUE(Use("postfleet_lookup_address = 127.0.0.1:7003\n").ok());
  EXPECT_THAT(
      std::string(Use("postfleet_cluster_members = a=127.0.0.1:1, b=192.0.2.2:1\n").message()),
      HasSubstr("192.0.2.2:1 is not on this host"));
}

}  // namespace
}  // namespace postfleet::server
