#include "services/ingress/adapters/arrival.h"

#include <sys/socket.h>

#include <string>
#include <utility>

#include "libs/base/maillog.h"
#include "services/ingress/adapters/server.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kEarlyBytesMax = 100;

std::string EarlyBytes(int fd) {
  char buffer[kEarlyBytesMax];
  const ssize_t count = ::recv(fd, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
  return count > 0 ? std::string(buffer, static_cast<size_t>(count)) : "";
}

}  // namespace

void Arrival::Start() { FindName(); }

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
  const ClientMemberships memberships = listener_.clients.Judge(facts.name, address_);
  facts.mynetworks = memberships.mynetworks;
  facts.bare_newline_excluded = memberships.bare_newline_excluded;
  facts.early_bytes = EarlyBytes(socket_.native_handle());
  if (listener_.rates != nullptr && !memberships.event_limit_excepted) {
    const auto network = listener_.clients.CountedNetwork(address_);
    const auto& bytes = network.address().bytes();
    facts.visit = std::make_shared<ClientVisit>(
        listener_.rates, std::string(bytes.begin(), bytes.end()), server_.WallMillis());
  }
  server_.Begin(*this, listener_, std::move(socket_), std::move(facts));
}

void Arrival::Drop() {
  if (std::exchange(over_, true)) return;
  std::error_code ignored;
  socket_.close(ignored);
  server_.Abandon(*this);
}

}  // namespace postfleet::ingress
