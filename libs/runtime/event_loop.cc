#include "libs/runtime/event_loop.h"

#include <pthread.h>

#include <asio/executor_work_guard.hpp>
#include <future>

namespace postfleet::runtime {

EventLoop::EventLoop(std::string name) : name_(std::move(name)), work_(io_.get_executor()) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    Run();
  });
}

void EventLoop::Run() { io_.run(); }

void EventLoop::Stop() {
  // A posted stop, so that what was posted before it still runs.
  asio::post(io_, [this] { io_.stop(); });
  if (thread_.joinable() && thread_.get_id() != std::this_thread::get_id()) thread_.join();
}

void EventLoop::RunAndWait(const std::function<void()>& function) {
  std::promise<void> done;
  Post([&] {
    function();
    done.set_value();
  });
  done.get_future().wait();
}

void Timer::Set(std::chrono::milliseconds after, std::function<void()> function) {
  const uint64_t mine = ++*generation_;
  timer_.expires_after(after);
  timer_.async_wait([generation = generation_, mine,
                     function = std::move(function)](const std::error_code& error) {
    if (!error && *generation == mine) function();
  });
}

void Timer::Cancel() {
  ++*generation_;
  timer_.cancel();
}

}  // namespace postfleet::runtime
