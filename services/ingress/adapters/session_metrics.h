// The series of one listener, by the project's list of metrics. Counting is an atomic addition;
// refusals look their series up.
#pragma once

#include <string>

#include "libs/metrics/metrics.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

class ListenerMetrics {
 public:
  ListenerMetrics(metrics::Registry& registry, const std::string& listener);

  void Opened(bool limited);
  void Closed(const CommandCounts& counts);
  void Accepted(double transaction_seconds);
  void Rejected(const RejectEvent& event);

 private:
  metrics::Registry& registry_;
  metrics::Gauge& connections_;
  metrics::Counter& accepted_connections_;
  metrics::Counter& limited_connections_;
  metrics::Counter& messages_;
  metrics::Histogram& transaction_seconds_;
  // By verb and reply class, 2xx 4xx 5xx.
  metrics::Counter* commands_[smtp::kVerbCount][CommandCounts::kClasses] = {};
};

}  // namespace postfleet::ingress
