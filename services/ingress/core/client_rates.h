// How much each client of a service does at once and in a unit of time, as anvil(8) counts it:
// connections, deliveries begun (MAIL), recipients (RCPT and VRFY). Exact on one node.
//
// A client's unit begins with the first thing it does after the one before has passed; with it all
// its counts begin anew. Clients are told apart by a key, the network that counts as one.
//
// Bounded: a client without a connection whose unit has passed is forgotten, and the oldest one
// without a connection when there are `clients_max`. Each call costs constant time. Thread-safe:
// the loops of an ingress share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace postfleet::ingress {

// Of one service; 0: no limit (smtpd_client_..._limit).
struct ClientLimits {
  int connection_count = 50;
  int connection_rate = 0;
  int message_rate = 0;
  int recipient_rate = 0;
  int64_t unit_ms = 60'000;  // anvil_rate_time_unit

  friend bool operator==(const ClientLimits&, const ClientLimits&) = default;
  bool any() const {
    return connection_count > 0 || connection_rate > 0 || message_rate > 0 || recipient_rate > 0;
  }
};

// The most that was seen of one thing, and whose it was.
struct ClientPeak {
  int value = 0;
  std::string key;
  int64_t at_ms = 0;

  void Take(int seen, const std::string& whose, int64_t now_ms) {
    if (seen <= value) return;
    value = seen;
    key = whose;
    at_ms = now_ms;
  }
};

class ClientRates {
 public:
  // Since they were last taken.
  struct Peaks {
    ClientPeak connection_rate, connection_count, message_rate, recipient_rate;
    ClientPeak clients;  // without a key
  };
  Peaks TakePeaks() {
    const std::lock_guard lock(mutex_);
    return std::exchange(peaks_, {});
  }

  explicit ClientRates(ClientLimits limits, size_t clients_max = 100'000)
      : limits_(limits), clients_max_(clients_max) {}

  const ClientLimits& limits() const { return limits_; }
  size_t clients() const {
    const std::lock_guard lock(mutex_);
    return clients_.size();
  }

  struct Connections {
    int count = 0;  // at this moment, with this one
    int rate = 0;   // begun in this unit, with this one
  };
  // A connection begins and ends; the two come in pairs, with the same key. Times are milliseconds
  // of one clock; if it is set back, units begin anew.
  Connections Connect(const std::string& key, int64_t now_ms);
  void Disconnect(const std::string& key);

  // In this unit, with this one. Only while the client is connected.
  int CountMessage(const std::string& key, int64_t now_ms) {
    const std::lock_guard lock(mutex_);
    const int messages = ++At(key, now_ms).messages;
    peaks_.message_rate.Take(messages, key, now_ms);
    return messages;
  }
  int CountRecipient(const std::string& key, int64_t now_ms) {
    const std::lock_guard lock(mutex_);
    const int recipients = ++At(key, now_ms).recipients;
    peaks_.recipient_rate.Take(recipients, key, now_ms);
    return recipients;
  }

 private:
  struct Client {
    int64_t unit_start_ms = 0;
    int connected = 0;
    int connections = 0;
    int messages = 0;
    int recipients = 0;
    // Among those without a connection; the one that left first is first.
    std::list<std::string>::iterator gone;
  };

  // Under mutex_.
  Client& At(const std::string& key, int64_t now_ms);
  void ForgetOld(int64_t now_ms);
  bool UnitHasPassed(const Client& client, int64_t now_ms) const;

  const ClientLimits limits_;
  const size_t clients_max_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, Client> clients_;
  std::list<std::string> gone_;
  Peaks peaks_;
};

// One connection's place in the counts, for as long as it lives.
class ClientVisit {
 public:
  ClientVisit(std::shared_ptr<ClientRates> rates, std::string key, int64_t now_ms);
  ~ClientVisit();
  ClientVisit(const ClientVisit&) = delete;
  ClientVisit& operator=(const ClientVisit&) = delete;

  const ClientLimits& limits() const { return rates_->limits(); }
  // As it began.
  const ClientRates::Connections& connections() const { return connections_; }
  int CountMessage(int64_t now_ms) { return rates_->CountMessage(key_, now_ms); }
  int CountRecipient(int64_t now_ms) { return rates_->CountRecipient(key_, now_ms); }

 private:
  const std::shared_ptr<ClientRates> rates_;
  const std::string key_;
  const ClientRates::Connections connections_;
};

}  // namespace postfleet::ingress
