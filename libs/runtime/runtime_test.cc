#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio/connect.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <future>

#include "libs/runtime/event_loop.h"
#include "libs/runtime/http_server.h"

namespace postfleet::runtime {
namespace {

TEST(EventLoop, WhatWasPostedBeforeStopRuns) {
  EventLoop loop("test");
  int ran = 0;
  for (int i = 0; i < 100; ++i) loop.Post([&] { ++ran; });
  loop.Start();
  loop.Stop();
  EXPECT_EQ(ran, 100);
}

TEST(Timer, SettingAgainForgetsTheEarlierTime) {
  EventLoop loop("test");
  std::vector<int> fired;
  Timer timer(loop);
  timer.Set(std::chrono::milliseconds(0), [&] { fired.push_back(1); });
  timer.Set(std::chrono::milliseconds(1), [&] {
    fired.push_back(2);
    loop.Stop();
  });
  loop.Run();
  EXPECT_THAT(fired, testing::ElementsAre(2));
}

std::string Request(uint16_t port, const std::string& request) {
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  socket.connect({asio::ip::address_v4::loopback(), port});
  asio::write(socket, asio::buffer(request));
  std::string response;
  std::error_code error;
  asio::read(socket, asio::dynamic_buffer(response), error);
  return response;
}

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() : loop_("http") {
    loop_.Start();
    server_ = HttpServer::Listen(loop_, "127.0.0.1:0",
                                 {{"/healthz", [] { return HttpResponse{.body = "ok\n"}; }}})
                  .value();
  }
  EventLoop loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersAKnownPath) {
  const std::string response =
      Request(server_->port(), "GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(response, testing::StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(response, testing::EndsWith("\r\n\r\nok\n"));
}

TEST_F(HttpServerTest, UnknownPathIs404AndOtherMethodsAre405) {
  EXPECT_THAT(Request(server_->port(), "GET /etc/passwd HTTP/1.1\r\n\r\n"),
              testing::StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Request(server_->port(), "POST /healthz HTTP/1.1\r\n\r\n"),
              testing::StartsWith("HTTP/1.1 405 "));
}

TEST_F(HttpServerTest, AnEndlessRequestIsCutOff) {
  EXPECT_EQ(Request(server_->port(), std::string(8192, 'x')), "");
}

TEST(HttpServer, APortInUseIsNamed) {
  EventLoop loop("http");
  loop.Start();
  auto first = HttpServer::Listen(loop, "127.0.0.1:0", {}).value();
  const std::string address = "127.0.0.1:" + std::to_string(first->port());
  const absl::Status status = HttpServer::Listen(loop, address, {}).status();
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr(address));
}

}  // namespace
}  // namespace postfleet::runtime
