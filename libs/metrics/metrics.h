// Metrics on prometheus-cpp, by the names of the project's list: every name gets the prefix
// `postfleet_`.
//
// Series are made at start, so that they exist with zero before anything happens. A series is
// looked up once and its reference kept: counting is then one atomic addition. Labels carry no
// addresses, domains, queue ids or texts of peers.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace postfleet::metrics {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = std::map<std::string, std::string>;

class Registry {
 public:
  // `name` without prefix. The same name and labels give the same series. References live as long
  // as the registry.
  Counter& AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // Buckets are upper bounds in the unit of the name, ascending.
  Histogram& AddHistogram(const std::string& name, const std::string& help, const Labels& labels,
                          const std::vector<double>& buckets);

  // Called before each exposition, to set gauges that are read rather than counted. Thread-safe.
  void OnCollect(std::function<void()> refresh);

  // The text exposition format 0.0.4.
  std::string Expose();

 private:
  prometheus::Registry registry_;
  std::mutex mutex_;
  std::vector<std::function<void()>> refreshes_;
};

// 0.5 ms to 60 s, for times in seconds.
const std::vector<double>& SecondsBuckets();

}  // namespace postfleet::metrics
