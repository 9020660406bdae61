// Connections that wait for the next attempt to their destination, and which destinations are worth
// it.
//
// A destination is reused (Postfix's smtp_connection_cache_on_demand) while its attempts overlap or
// follow within kBackToBack. At most `idle_connections_max` wait, all destinations together: the
// one that has waited longest goes. A connection is retired `reuse_time` after it was opened, or
// after `reuse_count_max` transactions.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "services/delivery/smtp/connection.h"

namespace postfleet::delivery::smtp {

class ConnectionCache : public ConnectionUser {
 public:
  static constexpr std::chrono::milliseconds kBackToBack{1'000};

  ConnectionCache(const SmtpOptions& options, const SmtpWorld& world)
      : options_(options), world_(world) {}
  ~ConnectionCache() override { CloseIdle(); }

  // An attempt begins and ends; the two come in pairs.
  void AttemptStarts(const std::string& destination);
  void AttemptEnds(const std::string& destination);

  // The one that was used last; nullptr: there is none. It has no user.
  std::shared_ptr<Connection> Take(const std::string& destination);
  // A connection whose transaction is over (kDone): kept, or closed.
  void Give(std::shared_ptr<Connection> connection);
  void CloseIdle();
  // Forgets destinations of long ago. True: some are left.
  bool Sweep();

  size_t idle_connections() const { return idle_.size(); }

  void OnUnreachable(Connection& connection, const std::string& why) override;
  void OnSession(Connection& connection) override;
  void OnIdleOver(Connection& connection) override;

 private:
  using Idle = std::list<std::shared_ptr<Connection>>;
  struct Destination {
    size_t running = 0;
    bool reused = false;
    std::chrono::steady_clock::time_point last_end;
  };

  bool IsWorthKeeping(Connection& connection);
  void Drop(Connection& connection);

  const SmtpOptions& options_;
  const SmtpWorld& world_;
  std::map<std::string, Destination> destinations_;
  // Given back, kReady or on their way to it by RSET; the oldest first.
  Idle idle_;
};

}  // namespace postfleet::delivery::smtp
