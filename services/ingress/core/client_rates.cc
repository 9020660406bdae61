#include "services/ingress/core/client_rates.h"

namespace postfleet::ingress {

ClientRates::Client& ClientRates::At(const std::string& key, int64_t now_ms) {
  Client& client = clients_[key];
  if (UnitHasPassed(client, now_ms)) {
    client.unit_start_ms = now_ms;
    client.connections = client.messages = client.recipients = 0;
  }
  return client;
}

ClientRates::Connections ClientRates::Connect(const std::string& key, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  ForgetOld(now_ms);
  const auto [found, is_new] = clients_.try_emplace(key);
  if (is_new) {
    found->second.unit_start_ms = now_ms;
  } else if (found->second.connected == 0) {
    gone_.erase(found->second.gone);
  }
  Client& client = At(key, now_ms);
  const Connections now = {.count = ++client.connected, .rate = ++client.connections};
  peaks_.connection_count.Take(now.count, key, now_ms);
  peaks_.connection_rate.Take(now.rate, key, now_ms);
  peaks_.clients.Take(static_cast<int>(clients_.size()), {}, now_ms);
  return now;
}

void ClientRates::Disconnect(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = clients_.find(key);
  if (found == clients_.end() || --found->second.connected > 0) return;
  // Its rates are those of its unit, also where only connections at once are limited.
  found->second.gone = gone_.insert(gone_.end(), key);
}

void ClientRates::ForgetOld(int64_t now_ms) {
  while (!gone_.empty()) {
    const auto oldest = clients_.find(gone_.front());
    if (!UnitHasPassed(oldest->second, now_ms) && clients_.size() < clients_max_) return;
    clients_.erase(oldest);
    gone_.pop_front();
  }
}

bool ClientRates::UnitHasPassed(const Client& client, int64_t now_ms) const {
  return now_ms < client.unit_start_ms || now_ms - client.unit_start_ms >= limits_.unit_ms;
}

ClientVisit::ClientVisit(std::shared_ptr<ClientRates> rates, std::string key, int64_t now_ms)
    : rates_(std::move(rates)), key_(std::move(key)), connections_(rates_->Connect(key_, now_ms)) {}

ClientVisit::~ClientVisit() { rates_->Disconnect(key_); }

}  // namespace postfleet::ingress
