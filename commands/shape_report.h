// The table of qshape(1): how many recipients (or messages) wait for how long, by domain.
//
//                                          T  5 10 20 40 80 160 320 640 1280 1280+
//                                   TOTAL  5  5  0  0  0  0   0   0   0    0     0
//                               b.example  3  3  0  0  0  0   0   0   0    0     0
//
// The last column ends at `width`; domain names get what is left, at least 18 columns, and lose
// their head ("+tail.example") where they do not fit. The domains with most come first, of equal
// ones the shorter, then by name. Pure; the layout is that of Postfix's program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::commands {

struct ShapeOptions {
  // Columns of age, the last one without a limit.
  int buckets = 10;
  // The first column's limit; each further one is twice the one before, or with `linear` that much
  // more.
  int64_t tick_minutes = 5;
  bool linear = false;
  // Sums for parent domains ("." in front) with at least so many names below them; not for top
  // level domains.
  bool parents = false;
  uint64_t subdomains_min = 5;
  int width = 80;
  // The row of totals counts too; 0: all.
  size_t rows_max = 0;
};

// Upper limits of the columns but the last, for ShapeRequest.
std::vector<int64_t> ShapeAgesMs(const ShapeOptions& options);

// `response` has as many counts in each row as there are buckets.
std::string FormatShape(const queue::v1::ShapeResponse& response, const ShapeOptions& options);

}  // namespace postfleet::commands
