// Addresses by the machine's own naming service (getaddrinfo: nsswitch.conf, /etc/hosts), which is
// what smtp_host_lookup = native asks.
//
// kA and kAaaa only; any other type is kNoData. getaddrinfo blocks, so that it runs on a thread of
// its own, one lookup after the other; at most `lookups_max` wait, more are answered kTemporary.
// The destructor waits for the lookup that runs.
#pragma once

#include <asio/io_context.hpp>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "libs/dns/resolver.h"

namespace postfleet::dns {

class NativeResolver : public Resolver {
 public:
  explicit NativeResolver(asio::io_context& io, size_t lookups_max = 1'000);
  ~NativeResolver() override;

  void Lookup(Type type, std::string_view name, Done done) override;

 private:
  struct Request {
    Type type;
    std::string name;
    Done done;
  };
  // Blocks.
  static Answer Ask(Type type, const std::string& name);
  void Work();
  void Give(Done done, Answer answer);

  asio::io_context& io_;
  const size_t lookups_max_;
  // On the loop: answers that come later find it gone.
  std::shared_ptr<char> alive_ = std::make_shared<char>();

  std::mutex mutex_;
  // Under mutex_.
  std::condition_variable some_;
  std::deque<Request> requests_;
  bool stopping_ = false;

  std::thread thread_;  // started by the first lookup
};

}  // namespace postfleet::dns
