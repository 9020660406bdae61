#include "services/ingress/adapters/arrival.h"

#include <sys/socket.h>

#include <asio/buffer.hpp>
#include <cerrno>
#include <string>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/smtp/escaped_input.h"
#include "services/ingress/adapters/server.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kEarlyBytesMax = 100;
constexpr int kDiscardedReadsMax = 16;

std::string EarlyBytes(int fd) {
  char buffer[kEarlyBytesMax];
  const ssize_t count = ::recv(fd, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
  return count > 0 ? std::string(buffer, static_cast<size_t>(count)) : "";
}

// By which clients are told apart in counts.
std::string CountedAs(const ClientLists& lists, const std::optional<config::IpAddress>& address) {
  if (!address) return "unknown";
  const auto network = lists.CountedNetwork(*address);
  const auto& bytes = network.address().bytes();
  return std::string(bytes.begin(), bytes.end());
}

// By its name and address. Who may take others' places is not counted: what it does is theirs.
ClientMemberships Recognize(Listener& listener, int64_t now_ms, ConnectionFacts* client) {
  ClientMemberships on;
  const auto address = config::IpAddress::Parse(client->address);
  if (address) on = listener.clients.Judge(client->name, *address);
  client->mynetworks = on.mynetworks;
  client->bare_newline_excluded = on.bare_newline_excluded;
  client->may_xclient = on.may_xclient;
  client->may_verp = on.may_verp;
  client->visit.reset();
  if (listener.rates != nullptr && !on.event_limit_excepted && !on.may_xclient) {
    client->visit =
        std::make_shared<ClientVisit>(listener.rates, CountedAs(listener.clients, address), now_ms);
  }
  return on;
}

}  // namespace

void Arrival::Start() {
  if (!listener_.behind_proxy) return FindName();
  ReadProxyHeader();
}

void Arrival::ReadProxyHeader() {
  proxy_timer_.expires_after(listener_.proxy_timeout);
  proxy_timer_.async_wait([self = shared_from_this()](const std::error_code& cancelled) {
    if (!cancelled && !self->over_ && !self->proxy_known_) self->RefuseProxy("timeout error");
  });
  AwaitProxyBytes();
}

void Arrival::AwaitProxyBytes() {
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const std::error_code& error) {
                       if (self->over_ || self->proxy_known_) return;
                       if (error) return self->RefuseProxy("EOF");
                       self->TakeProxyBytes();
                     });
}

// Only what is the header's leaves the socket.
void Arrival::TakeProxyBytes() {
  char buffer[smtp::ProxyHeaderReader::kBytesMax];
  const int fd = socket_.native_handle();
  const ssize_t count = ::recv(fd, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return AwaitProxyBytes();
  if (count <= 0) return RefuseProxy("EOF");
  const size_t taken = proxy_header_.Take({buffer, static_cast<size_t>(count)});
  if (::recv(fd, buffer, taken, MSG_DONTWAIT) != static_cast<ssize_t>(taken)) {
    return RefuseProxy("EOF");
  }
  switch (proxy_header_.state()) {
    case smtp::ProxyHeaderReader::State::kMore:
      return AwaitProxyBytes();
    case smtp::ProxyHeaderReader::State::kBad:
      return RefuseProxy(proxy_header_.error(), proxy_header_.bytes());
    case smtp::ProxyHeaderReader::State::kDone:
      return OnProxyHeader();
  }
}

void Arrival::OnProxyHeader() {
  proxy_known_ = true;
  proxy_timer_.cancel();
  const smtp::ProxiedConnection& proxied = proxy_header_.connection();
  if (!proxied.local) {
    address_ = *config::IpAddress::Parse(proxied.client_address);
    port_ = proxied.client_port;
  }
  FindName();
}

void Arrival::RefuseProxy(std::string_view why, std::string_view bytes) {
  proxy_timer_.cancel();
  const std::string& program = listener_.log_program;
  const std::string client = Concat("unknown[", address_.ToString(), "]");
  maillog::Warning(program, "haproxy read: ", why, bytes.empty() ? "" : ": ",
                   smtp::EscapedInput(bytes.substr(0, kEarlyBytesMax)));
  maillog::Info(program, "connect from ", client);
  const std::string reply =
      Concat("421 4.3.0 ", listener_.session_config.myhostname, " Server local error\r\n");
  std::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.write_some(asio::buffer(reply), ignored);
  // What is not read would take the reply along.
  char rest[smtp::ProxyHeaderReader::kBytesMax];
  for (int i = 0; i < kDiscardedReadsMax; ++i) {
    if (::recv(socket_.native_handle(), rest, sizeof(rest), MSG_DONTWAIT) <= 0) break;
  }
  maillog::Info(program, "disconnect from ", client, " commands=0/0");
  Drop();
}

void Arrival::FindName() {
  if (!listener_.session_config.peername_lookup) return Begin(ClientName{});
  server_.names().Find(address_.ToString(), [self = shared_from_this()](const ClientName& name) {
    if (!self->over_) self->Begin(name);
  });
}

void Arrival::Begin(const ClientName& name) {
  over_ = true;
  if (!name.warning.empty()) maillog::Warning(listener_.log_program, name.warning);
  ConnectionFacts facts;
  facts.address = address_.ToString();
  facts.port = std::to_string(port_);
  facts.name = name.name;
  facts.may_xforward = Recognize(listener_, server_.WallMillis(), &facts).may_xforward;
  facts.recognize = [&server = server_, &listener = listener_](ConnectionFacts* changed) {
    Recognize(listener, server.WallMillis(), changed);
  };
  facts.early_bytes = EarlyBytes(socket_.native_handle());
  server_.Begin(*this, listener_, std::move(socket_), std::move(facts));
}

void Arrival::Drop() {
  if (std::exchange(over_, true)) return;
  proxy_timer_.cancel();
  std::error_code ignored;
  socket_.close(ignored);
  server_.Abandon(*this, listener_);
}

}  // namespace postfleet::ingress
