// Wall time as this host writes it: offset and name of the time zone, looked up once a minute.
#pragma once

#include <ctime>
#include <string>

#include "libs/message/received.h"

namespace postfleet::message {

class LocalTime {
 public:
  MailTime At(int64_t wall_ms) {
    const int64_t seconds = wall_ms / 1000;
    if (seconds / 60 != minute_) {
      minute_ = seconds / 60;
      const std::time_t time = seconds;
      std::tm local{};
      localtime_r(&time, &local);
      offset_seconds_ = static_cast<int>(local.tm_gmtoff);
      zone_ = local.tm_zone;
    }
    return {.seconds = seconds, .utc_offset_seconds = offset_seconds_, .zone = zone_};
  }

 private:
  int64_t minute_ = -1;
  int offset_seconds_ = 0;
  std::string zone_ = "UTC";
};

}  // namespace postfleet::message
