// A loop with a thread of its own. Everything that a service's adapter owns is touched on its loop
// only; other threads Post.
//
// The loop ends by Stop: what was posted before runs, later posts are dropped. asio's io_context is
// open to adapters that have sockets; timers are asio's too.
#pragma once

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace postfleet::runtime {

class EventLoop {
 public:
  // `name` is the thread's, at most 15 bytes of it are shown.
  explicit EventLoop(std::string name);
  ~EventLoop();  // Stops

  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void Start();
  // Runs the loop on the calling thread until Stop; for tests and main threads.
  void Run();
  // Thread-safe; waits for the loop's end unless called on the loop. May be called again.
  void Stop();

  template <typename Function>
  void Post(Function&& function) {
    asio::post(io_, std::forward<Function>(function));
  }

  // Runs `function` on the loop and waits for it. Not from the loop itself.
  void RunAndWait(const std::function<void()>& function);

  bool OnLoop() { return io_.get_executor().running_in_this_thread(); }
  asio::io_context& io() { return io_; }

 private:
  const std::string name_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

// A timer that calls back on its loop. Setting it again forgets the earlier time. Used on the loop
// only.
class Timer {
 public:
  explicit Timer(EventLoop& loop) : timer_(loop.io()) {}
  ~Timer() { Cancel(); }

  void Set(std::chrono::milliseconds after, std::function<void()> function);
  void Cancel();

 private:
  asio::steady_timer timer_;
  // Counts settings: a callback that was already queued when the timer was set anew does nothing.
  std::shared_ptr<uint64_t> generation_ = std::make_shared<uint64_t>(0);
};

}  // namespace postfleet::runtime
