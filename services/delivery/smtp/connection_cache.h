// Connections that wait for the next attempt to their destination, and which destinations are worth
// it.
//
// A destination is reused (Postfix's smtp_connection_cache_on_demand) while its attempts overlap or
// follow within kBackToBack, or always (smtp_connection_cache_destinations). At most
// `idle_connections_max` wait, all destinations together: the one that has waited longest goes. A
// connection is retired `reuse_time` after it was opened, or after `reuse_count_max` transactions.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "libs/tables/match_list.h"
#include "services/delivery/smtp/connection.h"

namespace postfleet::delivery::smtp {

class ConnectionCache : public ConnectionUser {
 public:
  static constexpr std::chrono::milliseconds kBackToBack{1'000};

  // A list of destinations that cannot be read is warned of, and matches none.
  ConnectionCache(const SmtpOptions& options, const SmtpWorld& world);
  ~ConnectionCache() override { CloseIdle(); }

  // An attempt begins and ends; the two come in pairs.
  void AttemptStarts(const std::string& destination);
  void AttemptEnds(const std::string& destination);

  // The one that was used last; nullptr: there is none. It has no user.
  std::shared_ptr<Connection> Take(const std::string& destination);
  // The same, of any destination, to the same host at the same address and port; nullptr also where
  // `destination` is not reused.
  std::shared_ptr<Connection> TakeHost(const std::string& destination, const std::string& relay);
  // A connection whose transaction is over (kDone): kept, or closed.
  void Give(std::shared_ptr<Connection> connection);
  void CloseIdle();
  // Forgets destinations of long ago. True: some are left.
  bool Sweep();
  // Sessions that wait for the reply to QUIT; nullptr: none does.
  const std::shared_ptr<size_t>& quits() const { return quits_; }

  size_t idle_connections() const { return idle_.size(); }

  void OnUnreachable(Connection& connection, const char* status, const std::string& why) override;
  void OnSession(Connection& connection) override;
  void OnIdleOver(Connection& connection) override;

 private:
  using Idle = std::list<std::shared_ptr<Connection>>;
  struct Destination {
    bool always = false;
    size_t running = 0;
    bool reused = false;
    std::chrono::steady_clock::time_point last_end;
  };

  bool IsListed(const std::string& destination);
  std::shared_ptr<Connection> TakeAt(Idle::iterator place);
  bool IsWorthKeeping(Connection& connection);
  void Drop(Connection& connection);

  const SmtpOptions& options_;
  const SmtpWorld& world_;
  tables::MatchList listed_;
  const std::shared_ptr<size_t> quits_;
  std::map<std::string, Destination> destinations_;
  // Given back, kReady or on their way to it by RSET; the oldest first.
  Idle idle_;
};

}  // namespace postfleet::delivery::smtp
