// Delays as log lines show them (POSTFIX delay_logging_resolution_limit = 2): seconds with two
// significant digits, no more than two behind the point, rounded, without trailing zeroes: 0, 0.01,
// 0.12, 1.2, 12, 123.
#pragma once

#include <cstdint>
#include <string>

namespace postfleet {

// Below zero (a clock that went back) is 0.
std::string DelayText(int64_t ms);

}  // namespace postfleet
