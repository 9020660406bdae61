#include "libs/metrics/metrics.h"

#include <prometheus/text_serializer.h>

#include <sstream>

namespace postfleet::metrics {
namespace {

std::string Prefixed(const std::string& name) { return "postfleet_" + name; }

}  // namespace

Counter& Registry::AddCounter(const std::string& name, const std::string& help,
                              const Labels& labels) {
  return prometheus::BuildCounter().Name(Prefixed(name)).Help(help).Register(registry_).Add(labels);
}

Gauge& Registry::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildGauge().Name(Prefixed(name)).Help(help).Register(registry_).Add(labels);
}

Histogram& Registry::AddHistogram(const std::string& name, const std::string& help,
                                  const Labels& labels, const std::vector<double>& buckets) {
  return prometheus::BuildHistogram()
      .Name(Prefixed(name))
      .Help(help)
      .Register(registry_)
      .Add(labels, buckets);
}

void Registry::OnCollect(std::function<void()> refresh) {
  std::lock_guard lock(mutex_);
  refreshes_.push_back(std::move(refresh));
}

std::string Registry::Expose() {
  {
    std::lock_guard lock(mutex_);
    for (const auto& refresh : refreshes_) refresh();
  }
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, registry_.Collect());
  return text.str();
}

const std::vector<double>& SecondsBuckets() {
  static const std::vector<double> buckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                              0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
  return buckets;
}

}  // namespace postfleet::metrics
