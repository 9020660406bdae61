// What the loops of one ingress share: its bounds and its counts of clients. Thread-safe, but for
// what is marked: that is called before the loops run.
//
// A new configuration changes a service's bounds in place; where its limits for clients change,
// clients are counted anew.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "libs/submission/buffer_budget.h"
#include "services/ingress/adapters/client_statistics.h"
#include "services/ingress/core/client_rates.h"

namespace postfleet::ingress {

// Sessions of all, or of one service of master.cf over all its listeners. With several loops it may
// be passed by one session for each further loop.
class SessionCeiling {
 public:
  explicit SessionCeiling(size_t sessions_max) : sessions_max_(sessions_max) {}

  void Enter() { sessions_.fetch_add(1, std::memory_order_relaxed); }
  // True: there was no room before.
  bool Leave() { return sessions_.fetch_sub(1, std::memory_order_relaxed) >= sessions_max(); }
  bool Full() const { return sessions() >= sessions_max(); }
  // Few places are left, as when all of Postfix's processes are busy.
  bool Stressed() const { return sessions() >= sessions_max() - sessions_max() / 4; }
  size_t sessions() const { return sessions_.load(std::memory_order_relaxed); }
  size_t sessions_max() const { return sessions_max_.load(std::memory_order_relaxed); }
  void SetMax(size_t sessions_max) { sessions_max_.store(sessions_max, std::memory_order_relaxed); }

  // Once in `every`, for what is said of stress.
  bool MayWarn(std::chrono::steady_clock::time_point now, std::chrono::milliseconds every) {
    const int64_t now_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    int64_t last_ms = warned_ms_.load(std::memory_order_relaxed);
    return (last_ms < 0 || now_ms - last_ms >= every.count()) &&
           warned_ms_.compare_exchange_strong(last_ms, now_ms);
  }

 private:
  std::atomic<size_t> sessions_max_;
  std::atomic<size_t> sessions_{0};
  std::atomic<int64_t> warned_ms_{-1};
};

class SharedLoad {
 public:
  SharedLoad(size_t buffer_bytes_max, size_t sessions_max)
      : budget_(buffer_bytes_max), all_(sessions_max) {}

  submission::BufferBudget& budget() { return budget_; }
  SessionCeiling& all() { return all_; }

  // All listeners of a service have the same figures; the last caller's count.
  std::shared_ptr<SessionCeiling> CeilingOf(const std::string& service, size_t sessions_max) {
    const std::lock_guard lock(mutex_);
    auto& ceiling = ceilings_[service];
    if (ceiling == nullptr) ceiling = std::make_shared<SessionCeiling>(sessions_max);
    ceiling->SetMax(sessions_max);
    return ceiling;
  }
  std::shared_ptr<ClientRates> RatesOf(const std::string& service, const ClientLimits& limits) {
    const std::lock_guard lock(mutex_);
    auto& rates = rates_[service];
    if (rates == nullptr || rates->limits() != limits) {
      rates = std::make_shared<ClientRates>(limits);
    }
    return rates;
  }
  // anvil_status_update_time, anvil_rate_time_unit.
  void ReportStatistics(std::chrono::milliseconds every, int64_t rate_unit_ms) {
    statistics_every_ = every;
    rate_unit_ms_ = rate_unit_ms;
  }
  // The lines that are due, what clients did most since the last ones. From any loop.
  std::vector<std::string> StatisticsDue(std::chrono::steady_clock::time_point now) {
    const int64_t now_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    int64_t last_ms = statistics_ms_.load(std::memory_order_relaxed);
    const bool first = last_ms < 0;
    if (!first && now_ms - last_ms < statistics_every_.load().count()) return {};
    if (!statistics_ms_.compare_exchange_strong(last_ms, now_ms) || first) return {};
    return Statistics();
  }
  std::vector<std::string> Statistics() const {
    std::vector<ServicePeaks> services;
    const std::lock_guard lock(mutex_);
    for (const auto& [service, rates] : rates_) services.push_back({service, rates->TakePeaks()});
    return StatisticsLines(services, rate_unit_ms_);
  }
  // Called from any loop when there is room again where there was none. Before the loops run.
  void OnRoom(std::function<void()> listener) { on_room_.push_back(std::move(listener)); }

  void TellOfRoom() const {
    for (const auto& listener : on_room_) listener();
  }

 private:
  std::atomic<std::chrono::milliseconds> statistics_every_{std::chrono::milliseconds(600'000)};
  std::atomic<int64_t> rate_unit_ms_ = 60'000;
  std::atomic<int64_t> statistics_ms_{-1};
  submission::BufferBudget budget_;
  SessionCeiling all_;
  mutable std::mutex mutex_;  // of the two maps
  absl::flat_hash_map<std::string, std::shared_ptr<SessionCeiling>> ceilings_;
  absl::flat_hash_map<std::string, std::shared_ptr<ClientRates>> rates_;
  std::vector<std::function<void()>> on_room_;
};

}  // namespace postfleet::ingress
