#include "services/scheduler/core/window.h"

#include <algorithm>

namespace postfleet::scheduler {
namespace {

// A window changes by this much, each time so much feedback has gathered.
constexpr int kStep = 1;

}  // namespace

void Window::Revive(const TransportLimits& limits, int busy) {
  size_ = busy > 0 ? busy : limits.initial_destination_concurrency;
  success_ = failure_ = failed_cohorts_ = 0;
}

void Window::Succeeded(const TransportLimits& limits, int busy) {
  failed_cohorts_ = 0;
  if (dead()) {
    Revive(limits, busy);
    return;
  }
  const int limit = limits.destination_concurrency_limit;
  if (limit > 0 && size_ >= limit) return;
  // A window far above what is in use says nothing about what the destination bears.
  if (size_ >= busy + limits.initial_destination_concurrency) return;
  const double feedback = limits.positive_feedback.For(size_);
  success_ += feedback;
  // Half a feedback is the margin for rounding.
  while (success_ + feedback / 2 >= kStep) {
    size_ += kStep;
    success_ -= kStep;
    failure_ = 0;
  }
  if (limit > 0) size_ = std::min(size_, limit);
}

void Window::Adopt(const TransportLimits& limits) {
  const int limit = limits.destination_concurrency_limit;
  if (limit > 0) size_ = std::min(size_, limit);
}

bool Window::Failed(const TransportLimits& limits) {
  if (dead()) return false;
  failed_cohorts_ += 1.0 / size_;
  if (limits.failed_cohort_limit > 0 && failed_cohorts_ >= limits.failed_cohort_limit) {
    size_ = 0;
    return true;
  }
  const double feedback = limits.negative_feedback.For(size_);
  failure_ -= feedback;
  while (failure_ - feedback / 2 < 0) {
    size_ -= kStep;
    failure_ += kStep;
    success_ = 0;
  }
  size_ = std::max(size_, 1);
  return false;
}

}  // namespace postfleet::scheduler
