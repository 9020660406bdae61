#include "services/delivery/smtp/connection_cache.h"

#include <algorithm>
#include <utility>

#include "libs/base/maillog.h"

namespace postfleet::delivery::smtp {

ConnectionCache::ConnectionCache(const SmtpOptions& options, const SmtpWorld& world)
    : options_(options),
      world_(world),
      quits_(options.skip_quit_reply ? nullptr : std::make_shared<size_t>(0)) {
  if (options.reused_destinations.empty()) return;
  auto opened = tables::MatchList::Open(
      "smtp_connection_cache_destinations", options.reused_destinations,
      {.tables = {.clock = world.clock, .default_type = options.default_table_type}});
  if (opened.ok()) {
    listed_ = *std::move(opened);
  } else {
    maillog::Warning(options.program, std::string(opened.status().message()));
  }
}

// Listed are names without brackets, port or prefix.
bool ConnectionCache::IsListed(const std::string& destination) {
  if (listed_.empty()) return false;
  std::string_view name = destination;
  for (std::string_view prefix : {"unix:", "inet:"}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  const auto nexthop = ParseNexthop(name, options_.port);
  const auto matches = listed_.Matches(nexthop.ok() ? std::string_view(nexthop->host) : name);
  return matches.ok() && *matches;
}

void ConnectionCache::AttemptStarts(const std::string& destination) {
  const auto [found, is_new] = destinations_.try_emplace(destination);
  Destination& entry = found->second;
  if (is_new) entry.always = IsListed(destination);
  entry.reused = entry.always ||
                 (options_.reuse_connections && !is_new &&
                  (entry.running > 0 || world_.clock->Monotonic() - entry.last_end <= kBackToBack));
  ++entry.running;
}

void ConnectionCache::AttemptEnds(const std::string& destination) {
  Destination& entry = destinations_.at(destination);
  --entry.running;
  entry.last_end = world_.clock->Monotonic();
}

std::shared_ptr<Connection> ConnectionCache::TakeAt(Idle::iterator place) {
  std::shared_ptr<Connection> taken = std::move(*place);
  idle_.erase(place);
  taken->set_user(nullptr);
  taken->ClearDeadline();
  return taken;
}

std::shared_ptr<Connection> ConnectionCache::Take(const std::string& destination) {
  for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
    Connection& connection = **it;
    if (connection.destination() != destination) continue;
    if (connection.session().state() != Session::State::kReady) continue;
    return TakeAt(std::next(it).base());
  }
  return nullptr;
}

std::shared_ptr<Connection> ConnectionCache::TakeHost(const std::string& destination,
                                                      const std::string& relay) {
  const auto entry = destinations_.find(destination);
  if (entry == destinations_.end() || !entry->second.reused) return nullptr;
  for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
    Connection& connection = **it;
    if (connection.relay() != relay) continue;
    if (connection.session().state() != Session::State::kReady) continue;
    return TakeAt(std::next(it).base());
  }
  return nullptr;
}

bool ConnectionCache::IsWorthKeeping(Connection& connection) {
  if (options_.idle_connections_max == 0) return false;
  if (!connection.session().reusable()) return false;
  if (options_.reuse_count_max != 0 && connection.transactions() >= options_.reuse_count_max) {
    return false;
  }
  if (world_.clock->Monotonic() - connection.opened_at() >= options_.reuse_time) return false;
  const auto destination = destinations_.find(connection.destination());
  return destination != destinations_.end() && destination->second.reused;
}

void ConnectionCache::Give(std::shared_ptr<Connection> connection) {
  if (!IsWorthKeeping(*connection)) return connection->Close(quits_);
  if (idle_.size() >= options_.idle_connections_max) {
    const std::shared_ptr<Connection> oldest = std::move(idle_.front());
    idle_.pop_front();
    oldest->Close(quits_);
  }
  connection->set_user(this);
  idle_.push_back(connection);
  connection->Reset();
}

void ConnectionCache::OnSession(Connection& connection) {
  if (connection.session().state() != Session::State::kReady) return Drop(connection);
  connection.Idle(world_.clock->Monotonic() + options_.cache_time);
}

void ConnectionCache::OnUnreachable(Connection& connection, const char*, const std::string&) {
  Drop(connection);
}

void ConnectionCache::OnIdleOver(Connection& connection) { Drop(connection); }

void ConnectionCache::Drop(Connection& connection) {
  const auto found = std::find_if(idle_.begin(), idle_.end(),
                                  [&](const auto& idle) { return idle.get() == &connection; });
  if (found == idle_.end()) return;
  const std::shared_ptr<Connection> dropped = std::move(*found);
  idle_.erase(found);
  dropped->Close(quits_);
}

void ConnectionCache::CloseIdle() {
  for (const auto& connection : std::exchange(idle_, {})) connection->Close();
}

bool ConnectionCache::Sweep() {
  const auto now = world_.clock->Monotonic();
  std::erase_if(destinations_, [&](const auto& entry) {
    return entry.second.running == 0 && now - entry.second.last_end > kBackToBack;
  });
  return !destinations_.empty();
}

}  // namespace postfleet::delivery::smtp
