// A resolver that is made as soon as it can be: at the first lookup, and after a failure again at
// the first one kRetry later. Until then every lookup is kTemporary, so that mail waits and no
// restart is needed once /etc/resolv.conf can be read.
//
// Errors: the first failure of a row is a warning in the log of `program`; that it is over is said
// too.
#pragma once

#include <asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/dns/resolver.h"

namespace postfleet::dns {

class LateResolver : public Resolver {
 public:
  static constexpr std::chrono::seconds kRetry{10};
  using Make = std::function<absl::StatusOr<std::unique_ptr<Resolver>>()>;

  LateResolver(asio::io_context& io, const Clock& clock, std::string program, Make make)
      : io_(io), clock_(clock), program_(std::move(program)), make_(std::move(make)) {}

  void Lookup(Type type, std::string_view name, Done done) override;

 private:
  // False: there is none yet.
  bool IsMade();

  asio::io_context& io_;
  const Clock& clock_;
  const std::string program_;
  const Make make_;
  std::unique_ptr<Resolver> made_;
  std::optional<std::chrono::steady_clock::time_point> failed_at_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace postfleet::dns
