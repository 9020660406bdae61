// CRC-32C (Castagnoli, RFC 3720 appendix B.4). Guards log records and message contents end to end.
// Cost: about 0.1 ns a byte with SSE 4.2 or ARMv8 CRC, 1 ns without.
#pragma once

#include <cstdint>
#include <string_view>

namespace postfleet {

// Crc32c("123456789") == 0xE3069283. Continues from `crc` of the bytes before.
uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

}  // namespace postfleet
