#include "services/scheduler/core/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace postfleet::scheduler {
namespace {

constexpr std::string_view kSpace = " \t";

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::optional<double> ParseNumber(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

double Feedback::For(int window) const {
  switch (scale) {
    case Scale::kPerConcurrency:
      return value / window;
    case Scale::kPerSqrtConcurrency:
      return value / std::sqrt(window);
    case Scale::kConstant:
      break;
  }
  return value;
}

std::optional<Feedback> Feedback::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::optional<double> value = ParseNumber(Trimmed(text.substr(0, slash)));
  if (!value) return std::nullopt;
  Feedback feedback{.value = *value};
  if (slash != text.npos) {
    const std::string_view divisor = Trimmed(text.substr(slash + 1));
    if (divisor == "concurrency") {
      feedback.scale = Scale::kPerConcurrency;
    } else if (divisor == "sqrt_concurrency") {
      feedback.scale = Scale::kPerSqrtConcurrency;
    } else if (const std::optional<double> number = ParseNumber(divisor); number && *number != 0) {
      feedback.value /= *number;
    } else {
      return std::nullopt;
    }
  }
  if (!(feedback.value >= 0 && feedback.value <= 1)) return std::nullopt;
  return feedback;
}

TransportLimits Config::LimitsOf(std::string_view transport) const {
  const auto found = transports.find(transport);
  TransportLimits limits = found == transports.end() ? defaults : found->second;
  if (limits.destination_rate_delay_ms > 0) limits.destination_concurrency_limit = 1;
  if (limits.destination_concurrency_limit > 0) {
    limits.initial_destination_concurrency =
        std::min(limits.initial_destination_concurrency, limits.destination_concurrency_limit);
  }
  limits.initial_destination_concurrency = std::max(limits.initial_destination_concurrency, 1);
  return limits;
}

}  // namespace postfleet::scheduler
