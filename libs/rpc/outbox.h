// What a producer has to say on a stream, gathered until the stream asks for a frame. Thread-safe.
//
// Bounded by whoever fills it: credits and windows of the contracts, not by blocking here.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

namespace postfleet::rpc {

template <typename Item>
class Outbox {
 public:
  void Add(Item item) {
    std::lock_guard lock(mutex_);
    items_.push_back(std::move(item));
  }

  // Takes items from the front while their sizes fit into `bytes_max`, at least one.
  // `size_of(item)` is in bytes.
  template <typename SizeOf>
  std::vector<Item> Take(size_t bytes_max, const SizeOf& size_of) {
    std::lock_guard lock(mutex_);
    size_t bytes = 0;
    size_t count = 0;
    while (count < items_.size()) {
      bytes += size_of(items_[count]);
      if (count > 0 && bytes > bytes_max) break;
      ++count;
    }
    if (count == items_.size()) return std::exchange(items_, {});
    const auto end = items_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<Item> taken(std::make_move_iterator(items_.begin()), std::make_move_iterator(end));
    items_.erase(items_.begin(), end);
    return taken;
  }

  std::vector<Item> TakeAll() {
    std::lock_guard lock(mutex_);
    return std::exchange(items_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Item> items_;
};

}  // namespace postfleet::rpc
