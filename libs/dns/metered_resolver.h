// Counts and times the lookups of another resolver: dns_lookups_total and dns_seconds, by type and
// result.
#pragma once

#include <map>
#include <memory>

#include "libs/base/clock.h"
#include "libs/dns/resolver.h"
#include "libs/metrics/metrics.h"

namespace postfleet::dns {

class MeteredResolver : public Resolver {
 public:
  // `registry` and `clock` outlive it.
  MeteredResolver(std::unique_ptr<Resolver> resolver, metrics::Registry& registry,
                  const Clock& clock);

  void Lookup(Type type, std::string_view name, Done done) override;

 private:
  struct Series {
    std::map<Result, metrics::Counter*> answers;
    metrics::Histogram* seconds = nullptr;
  };

  const Clock& clock_;
  std::map<Type, Series> series_;
  std::unique_ptr<Resolver> resolver_;  // last: with it the answers end
};

}  // namespace postfleet::dns
