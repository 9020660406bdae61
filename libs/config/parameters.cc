#include "libs/config/parameters.h"

#include <algorithm>
#include <array>
#include <vector>

#include "libs/config/unsupported_hints.h"

namespace postfleet::config {
namespace {

using enum ParameterType;
using enum ParameterStatus;

constexpr Parameter kRead[] = {
#include "libs/config/parameters.inc"
};

constexpr Parameter kGuarding[] = {
#include "libs/config/parameters_protective.inc"
};

constexpr Parameter kOther[] = {
#include "libs/config/parameters_other.inc"
};

std::vector<Parameter> Merge() {
  std::vector<Parameter> all(std::begin(kRead), std::end(kRead));
  all.insert(all.end(), std::begin(kGuarding), std::end(kGuarding));
  all.insert(all.end(), std::begin(kOther), std::end(kOther));
  std::sort(all.begin(), all.end(),
            [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
  return all;
}

// What every transport has (postconf(5), "transport_..."), with the parameter that is its default.
constexpr TransportParameter kTransportRows[] = {
    {"", "_destination_concurrency_limit", "default_destination_concurrency_limit", "", kInt,
     kHonoured},
    {"", "_initial_destination_concurrency", "initial_destination_concurrency", "", kInt,
     kHonoured},
    {"", "_destination_recipient_limit", "default_destination_recipient_limit", "", kInt,
     kHonoured},
    {"", "_destination_concurrency_positive_feedback",
     "default_destination_concurrency_positive_feedback", "", kString, kHonoured},
    {"", "_destination_concurrency_negative_feedback",
     "default_destination_concurrency_negative_feedback", "", kString, kHonoured},
    {"", "_destination_concurrency_failed_cohort_limit",
     "default_destination_concurrency_failed_cohort_limit", "", kInt, kHonoured},
    {"", "_destination_rate_delay", "default_destination_rate_delay", "", kTime, kHonoured},
    {"", "_transport_rate_delay", "default_transport_rate_delay", "", kTime, kHonoured},
    {"", "_recipient_limit", "default_recipient_limit", "", kInt, kUnsupported},
    {"", "_extra_recipient_limit", "default_extra_recipient_limit", "", kInt, kUnsupported},
    {"", "_recipient_refill_limit", "default_recipient_refill_limit", "", kInt, kUnsupported},
    {"", "_recipient_refill_delay", "default_recipient_refill_delay", "", kTime, kUnsupported},
    {"", "_delivery_slot_cost", "default_delivery_slot_cost", "", kInt, kHonoured},
    {"", "_delivery_slot_loan", "default_delivery_slot_loan", "", kInt, kHonoured},
    {"", "_delivery_slot_discount", "default_delivery_slot_discount", "", kInt, kHonoured},
    {"", "_minimum_delivery_slots", "default_minimum_delivery_slots", "", kInt, kHonoured},
    {"", "_time_limit", "command_time_limit", "", kTime, kHonoured},
};

// Edit distance with single insertions, deletions and replacements; rows past `most` are cut off.
size_t Distance(std::string_view a, std::string_view b, size_t most) {
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > most) return most + 1;
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    size_t least = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      least = std::min(least, row[j]);
    }
    if (least > most) return most + 1;
  }
  return row[b.size()];
}

}  // namespace

absl::Span<const Parameter> AllParameters() {
  static const std::vector<Parameter>* const all = new std::vector<Parameter>(Merge());
  return *all;
}

const Parameter* FindParameter(std::string_view name) {
  absl::Span<const Parameter> all = AllParameters();
  auto row = std::lower_bound(
      all.begin(), all.end(), name,
      [](const Parameter& parameter, std::string_view key) { return parameter.name < key; });
  return row != all.end() && row->name == name ? &*row : nullptr;
}

absl::Span<const TransportParameter> TransportParameters() { return kTransportRows; }

std::optional<TransportParameter> FindTransportParameter(std::string_view name) {
  const TransportParameter* best = nullptr;
  for (const TransportParameter& row : kTransportRows) {
    if (name.size() <= row.suffix.size() || !name.ends_with(row.suffix)) continue;
    if (best == nullptr || row.suffix.size() > best->suffix.size()) best = &row;
  }
  if (best == nullptr) return std::nullopt;
  TransportParameter found = *best;
  found.transport = name.substr(0, name.size() - found.suffix.size());
  return found;
}

std::optional<std::string_view> NearestName(std::string_view name,
                                            absl::Span<const std::string_view> names) {
  // A third of the letters wrong is another word.
  size_t most = std::min<size_t>(3, name.size() / 3);
  std::optional<std::string_view> nearest;
  for (const std::string_view candidate : names) {
    const size_t distance = Distance(name, candidate, most);
    if (distance > most) continue;
    if (distance < most || !nearest) nearest = candidate;
    if (distance == 0) break;
    most = distance;
  }
  return nearest;
}

std::optional<std::string_view> NearestParameter(std::string_view name,
                                                 absl::Span<const std::string> others) {
  std::vector<std::string_view> names(others.begin(), others.end());
  for (const Parameter& parameter : AllParameters()) names.push_back(parameter.name);
  return NearestName(name, names);
}

}  // namespace postfleet::config
