#include "services/delivery/smtp/connection_cache.h"

#include <algorithm>
#include <utility>

namespace postfleet::delivery::smtp {

void ConnectionCache::AttemptStarts(const std::string& destination) {
  const auto [found, is_new] = destinations_.try_emplace(destination);
  Destination& entry = found->second;
  entry.reused =
      !is_new && (entry.running > 0 || world_.clock->Monotonic() - entry.last_end <= kBackToBack);
  ++entry.running;
}

void ConnectionCache::AttemptEnds(const std::string& destination) {
  Destination& entry = destinations_.at(destination);
  --entry.running;
  entry.last_end = world_.clock->Monotonic();
}

std::shared_ptr<Connection> ConnectionCache::Take(const std::string& destination) {
  for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
    Connection& connection = **it;
    if (connection.destination() != destination) continue;
    if (connection.session().state() != Session::State::kReady) continue;
    std::shared_ptr<Connection> taken = std::move(*it);
    idle_.erase(std::next(it).base());
    taken->set_user(nullptr);
    taken->ClearDeadline();
    return taken;
  }
  return nullptr;
}

bool ConnectionCache::IsWorthKeeping(Connection& connection) {
  if (!options_.reuse_connections || options_.idle_connections_max == 0) return false;
  if (!connection.session().reusable()) return false;
  if (options_.reuse_count_max != 0 && connection.transactions() >= options_.reuse_count_max) {
    return false;
  }
  if (world_.clock->Monotonic() - connection.opened_at() >= options_.reuse_time) return false;
  const auto destination = destinations_.find(connection.destination());
  return destination != destinations_.end() && destination->second.reused;
}

void ConnectionCache::Give(std::shared_ptr<Connection> connection) {
  if (!IsWorthKeeping(*connection)) return connection->Close();
  if (idle_.size() >= options_.idle_connections_max) {
    const std::shared_ptr<Connection> oldest = std::move(idle_.front());
    idle_.pop_front();
    oldest->Close();
  }
  connection->set_user(this);
  idle_.push_back(connection);
  connection->Reset();
}

void ConnectionCache::OnSession(Connection& connection) {
  if (connection.session().state() != Session::State::kReady) return Drop(connection);
  connection.Idle(world_.clock->Monotonic() + options_.cache_time);
}

void ConnectionCache::OnUnreachable(Connection& connection, const std::string&) {
  Drop(connection);
}

void ConnectionCache::OnIdleOver(Connection& connection) { Drop(connection); }

void ConnectionCache::Drop(Connection& connection) {
  const auto found = std::find_if(idle_.begin(), idle_.end(),
                                  [&](const auto& idle) { return idle.get() == &connection; });
  if (found == idle_.end()) return;
  const std::shared_ptr<Connection> dropped = std::move(*found);
  idle_.erase(found);
  dropped->Close();
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
