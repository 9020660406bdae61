// Addresses and names by the machine's own naming service (getaddrinfo, getnameinfo: nsswitch.conf,
// /etc/hosts), which is what smtp_host_lookup = native and the names of clients ask.
//
// kA, kAaaa and kPtr only; any other type is kNoData. These calls block, so that they run on
// threads of their own, at most kThreadsMax, made when they are needed; at most `lookups_max` wait,
// more are answered kTemporary. The destructor does not wait: a call that runs ends in its own
// time, and its answer is dropped.
#pragma once

#include <asio/io_context.hpp>
#include <memory>
#include <string_view>

#include "libs/dns/resolver.h"

namespace postfleet::dns {

class NativeResolver : public Resolver {
 public:
  static constexpr size_t kThreadsMax = 16;

  explicit NativeResolver(asio::io_context& io, size_t lookups_max = 1'000);
  ~NativeResolver() override;

  void Lookup(Type type, std::string_view name, Done done) override;

 private:
  struct Work;

  void Give(Done done, Answer answer);

  asio::io_context& io_;
  const size_t lookups_max_;
  // On the loop: answers that come later find it gone.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::shared_ptr<Work> work_;  // the threads' too
};

}  // namespace postfleet::dns
