// Contents held in memory by those who make them and by what waits for the queue's answer (P4).
// Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace postfleet::submission {

class BufferBudget {
 public:
  explicit BufferBudget(size_t bytes_max) : bytes_max_(static_cast<int64_t>(bytes_max)) {}

  void Add(int64_t bytes) {
    const int64_t now = bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    int64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }
  bool Full() const { return bytes_.load(std::memory_order_relaxed) >= bytes_max_; }
  size_t bytes() const { return static_cast<size_t>(bytes_.load(std::memory_order_relaxed)); }
  size_t peak() const { return static_cast<size_t>(peak_.load(std::memory_order_relaxed)); }

 private:
  const int64_t bytes_max_;
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> peak_{0};
};

}  // namespace postfleet::submission
