#include "libs/runtime/http_server.h"

#include <asio/connect.hpp>
#include <asio/read_until.hpp>
#include <asio/streambuf.hpp>
#include <asio/write.hpp>
#include <chrono>

#include "libs/base/concat.h"

namespace postfleet::runtime {
namespace {

using asio::ip::tcp;

constexpr size_t kRequestBytesMax = 8192;
constexpr int kConnectionsMax = 64;
constexpr std::chrono::seconds kRequestTimeMax{10};

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

std::string Format(const HttpResponse& response) {
  return Concat("HTTP/1.1 ", response.status, " ", Reason(response.status),
                "\r\nContent-Type: ", response.content_type,
                "\r\nContent-Length: ", response.body.size(), "\r\nConnection: close\r\n\r\n",
                response.body);
}

absl::StatusOr<tcp::endpoint> ParseAddress(EventLoop& loop, const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(
        Concat("bad listen address \"", address, "\": give host:port, as in 127.0.0.1:9090"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  std::error_code error;
  tcp::resolver resolver(loop.io());
  const auto found =
      resolver.resolve(host, address.substr(colon + 1), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return absl::InvalidArgumentError(
        Concat("bad listen address \"", address, "\": ", error.message()));
  }
  return found.begin()->endpoint();
}

}  // namespace

class HttpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop& loop, Handlers handlers)
      : handlers_(std::move(handlers)), acceptor_(loop.io()), loop_(loop) {}

  absl::Status Listen(const std::string& address) {
    const absl::StatusOr<tcp::endpoint> endpoint = ParseAddress(loop_, address);
    if (!endpoint.ok()) return endpoint.status();
    std::error_code error;
    acceptor_.open(endpoint->protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(*endpoint, error);
    if (!error) acceptor_.listen(kConnectionsMax, error);
    if (error) return absl::UnavailableError(Concat("listen on ", address, ": ", error.message()));
    port_ = acceptor_.local_endpoint().port();
    loop_.Post([self = shared_from_this()] { self->Accept(); });
    return absl::OkStatus();
  }

  void Close() {
    loop_.Post([self = shared_from_this()] {
      std::error_code ignored;
      self->acceptor_.close(ignored);
    });
  }

  uint16_t port() const { return port_; }

 private:
  struct Connection {
    Connection(tcp::socket accepted, EventLoop& loop)
        : socket(std::move(accepted)), request(kRequestBytesMax), timer(loop) {}
    tcp::socket socket;
    asio::streambuf request;
    std::string response;
    Timer timer;
  };

  void Accept() {
    acceptor_.async_accept([self = shared_from_this()](std::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !self->acceptor_.is_open()) return;
      if (!error && self->connections_ < kConnectionsMax) self->Serve(std::move(socket));
      self->Accept();
    });
  }

  void Serve(tcp::socket socket) {
    ++connections_;
    auto connection = std::shared_ptr<Connection>(new Connection(std::move(socket), loop_),
                                                  [self = shared_from_this()](Connection* ended) {
                                                    --self->connections_;
                                                    delete ended;
                                                  });
    std::weak_ptr<Connection> weak = connection;
    connection->timer.Set(kRequestTimeMax, [weak] {
      std::error_code ignored;
      if (auto slow = weak.lock()) slow->socket.close(ignored);
    });
    asio::async_read_until(connection->socket, connection->request, "\r\n\r\n",
                           [self = shared_from_this(), connection](std::error_code error, size_t) {
                             if (error) return;
                             std::istream lines(&connection->request);
                             std::string method, path;
                             lines >> method >> path;
                             connection->response = Format(self->Answer(method, path));
                             asio::async_write(
                                 connection->socket, asio::buffer(connection->response),
                                 [connection](std::error_code, size_t) {
                                   std::error_code ignored;
                                   connection->socket.shutdown(tcp::socket::shutdown_both, ignored);
                                 });
                           });
  }

  HttpResponse Answer(const std::string& method, std::string path) const {
    if (method != "GET") return {.status = 405, .body = "only GET\n"};
    path = path.substr(0, path.find('?'));
    const auto handler = handlers_.find(path);
    if (handler == handlers_.end()) return {.status = 404, .body = "no such page\n"};
    return handler->second();
  }

  const Handlers handlers_;
  tcp::acceptor acceptor_;
  EventLoop& loop_;
  int connections_ = 0;
  uint16_t port_ = 0;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(EventLoop& loop,
                                                               const std::string& address,
                                                               Handlers handlers) {
  auto impl = std::make_shared<Impl>(loop, std::move(handlers));
  const absl::Status status = impl->Listen(address);
  if (!status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { impl_->Close(); }
uint16_t HttpServer::port() const { return impl_->port(); }

}  // namespace postfleet::runtime
