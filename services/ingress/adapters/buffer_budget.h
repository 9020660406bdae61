// Contents held in memory by all sessions and by what waits for the queue's answer (P4). On the
// loop; the peak and the current figure may be read from anywhere.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace postfleet::ingress {

class BufferBudget {
 public:
  explicit BufferBudget(size_t bytes_max) : bytes_max_(static_cast<int64_t>(bytes_max)) {}

  void Add(int64_t bytes) {
    const int64_t now = bytes_.load(std::memory_order_relaxed) + bytes;
    bytes_.store(now, std::memory_order_relaxed);
    if (now > peak_.load(std::memory_order_relaxed)) peak_.store(now, std::memory_order_relaxed);
  }
  bool Full() const { return bytes_.load(std::memory_order_relaxed) >= bytes_max_; }
  size_t bytes() const { return static_cast<size_t>(bytes_.load(std::memory_order_relaxed)); }
  size_t peak() const { return static_cast<size_t>(peak_.load(std::memory_order_relaxed)); }

 private:
  const int64_t bytes_max_;
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> peak_{0};
};

}  // namespace postfleet::ingress
