// A client between accept and its session: what has to be known of it first.
//
// Where a proxy stands before the listener (smtpd_upstream_proxy_protocol), its header says who the
// client is; without one that can be understood, in time, there is no session, and whoever it is
// gets a 421. Then the client's name is looked for.
//
// It ends by Server::Begin, which makes the Connection, or by Server::Abandon. Until then it counts
// as a session. On the loop.
#pragma once

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <list>
#include <memory>
#include <string_view>

#include "libs/config/ip_network.h"
#include "libs/smtp/proxy_header.h"
#include "services/ingress/adapters/client_names.h"

namespace postfleet::ingress {

class Server;
struct Listener;

class Arrival : public std::enable_shared_from_this<Arrival> {
 public:
  Arrival(Server& server, Listener& listener, asio::ip::tcp::socket socket,
          config::IpAddress address, uint16_t port)
      : server_(server),
        listener_(listener),
        socket_(std::move(socket)),
        address_(address),
        port_(port),
        proxy_timer_(socket_.get_executor()) {}

  void Start();
  // At once; nothing comes of it.
  void Drop();

 private:
  friend class Server;

  void ReadProxyHeader();
  void AwaitProxyBytes();
  void TakeProxyBytes();
  void OnProxyHeader();
  void RefuseProxy(std::string_view why, std::string_view bytes = {});
  void FindName();
  void Begin(const ClientName& name);

  Server& server_;
  Listener& listener_;
  asio::ip::tcp::socket socket_;
  config::IpAddress address_;  // the client's
  uint16_t port_;
  asio::steady_timer proxy_timer_;
  smtp::ProxyHeaderReader proxy_header_;
  bool proxy_known_ = false;
  bool over_ = false;
  std::list<std::shared_ptr<Arrival>>::iterator place_;  // in the server's list
};

}  // namespace postfleet::ingress
