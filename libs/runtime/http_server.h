// The small HTTP/1.1 server behind /metrics, /healthz and /readyz: GET only, a fixed set of paths,
// one response a connection (Connection: close). Requests over 8 KiB, slow ones (10 s) and more
// than 64 connections at once are cut off.
#pragma once

#include <asio/ip/tcp.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/runtime/event_loop.h"

namespace postfleet::runtime {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  // Handlers run on the loop.
  using Handlers = std::map<std::string, std::function<HttpResponse()>, std::less<>>;

  // `address` is "host:port", "[::1]:port"; port 0 takes a free one. The loop outlives the server.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(EventLoop& loop,
                                                            const std::string& address,
                                                            Handlers handlers);
  ~HttpServer();

  uint16_t port() const;

 private:
  class Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace postfleet::runtime
