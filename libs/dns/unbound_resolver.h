// The resolver over libunbound: one thread of its own inside the library, a cache, and answers on
// the loop through the library's descriptor.
//
// Without `name_servers` those of `resolv_conf` are asked, as libc would; neither its search list
// nor /etc/hosts is used (Postfix's smtp_host_lookup = dns), unless `hosts_file` is given (native).
#pragma once

#include <asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/dns/resolver.h"

namespace postfleet::dns {

struct UnboundOptions {
  // "192.0.2.53" or "127.0.0.1@5353".
  std::vector<std::string> name_servers;
  std::string resolv_conf = "/etc/resolv.conf";
  // "/etc/hosts", or empty: not read.
  std::string hosts_file;
  // A lookup that takes longer is kTemporary.
  std::chrono::milliseconds timeout{30'000};
  // Lookups at once; more are answered kTemporary.
  size_t lookups_max = 10'000;
};

class UnboundResolver : public Resolver {
 public:
  // Errors: the library refuses an option, a file cannot be read.
  static absl::StatusOr<std::unique_ptr<UnboundResolver>> Create(asio::io_context& io,
                                                                 const UnboundOptions& options);
  // On the loop, or after it has ended.
  ~UnboundResolver() override;

  void Lookup(Type type, std::string_view name, Done done) override;

 private:
  class Impl;
  explicit UnboundResolver(std::shared_ptr<Impl> impl);
  const std::shared_ptr<Impl> impl_;
};

}  // namespace postfleet::dns
