#include "libs/dns/metered_resolver.h"

#include <chrono>
#include <string>
#include <utility>

namespace postfleet::dns {
namespace {

constexpr Type kTypes[] = {Type::kMx, Type::kA, Type::kAaaa, Type::kSrv, Type::kPtr};
constexpr std::pair<Result, const char*> kResults[] = {
    {Result::kFound, "found"},      {Result::kNoName, "no_name"},
    {Result::kNoData, "no_data"},   {Result::kTemporary, "temporary"},
    {Result::kBadName, "bad_name"}, {Result::kMalformed, "malformed"},
};

}  // namespace

MeteredResolver::MeteredResolver(std::unique_ptr<Resolver> resolver, metrics::Registry& registry,
                                 const Clock& clock)
    : clock_(clock), resolver_(std::move(resolver)) {
  for (const Type type : kTypes) {
    const std::string name(TypeName(type));
    Series& series = series_[type];
    for (const auto& [result, label] : kResults) {
      series.answers[result] = &registry.AddCounter("dns_lookups_total", "DNS lookups, by result.",
                                                    {{"type", name}, {"result", label}});
    }
    series.seconds = &registry.AddHistogram("dns_seconds", "How long DNS lookups took.",
                                            {{"type", name}}, metrics::SecondsBuckets());
  }
}

void MeteredResolver::Lookup(Type type, std::string_view name, Done done) {
  resolver_->Lookup(
      type, name, [this, type, begun = clock_.Monotonic(), done = std::move(done)](Answer answer) {
        const std::chrono::duration<double> took = clock_.Monotonic() - begun;
        const Series& series = series_.at(type);
        series.answers.at(answer.result)->Increment();
        series.seconds->Observe(took.count());
        done(std::move(answer));
      });
}

}  // namespace postfleet::dns
