// Marks beside the NotifyFlags of mail.proto in Recipient.dsn_notify, within this system only:
// scheduler to agent, and to who makes notices. Neither stored nor said to another server.
#pragma once

#include <cstdint>

namespace postfleet::mail {

// The sender is told of success here, whether or not he asked and whoever comes next: he was told
// that this recipient's mail is late (confirm_delay_cleared).
inline constexpr uint32_t kNotifyFlagToldHere = 1u << 8;
// Of a probe (`sendmail -bv`): nothing is delivered, and the log says whether it could be.
inline constexpr uint32_t kNotifyFlagProbe = 1u << 9;
inline constexpr uint32_t kNotifyFlagsWithin = kNotifyFlagToldHere | kNotifyFlagProbe;

}  // namespace postfleet::mail
