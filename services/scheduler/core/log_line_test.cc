#include "services/scheduler/core/log_line.h"

#include <gtest/gtest.h>

namespace postfleet::scheduler {
namespace {

TEST(Render, NamesTheOriginalRecipientWhereItDiffers) {
  LogLine line{.kind = LogLine::Kind::kRecipient, .program = "error", .queue_id = "4fX"};
  line.recipient = "x@d";
  line.original_recipient = "root";
  line.delay_a_ms = 20;
  line.delay_b_ms = 1'000;
  line.dsn = "5.1.1";
  line.status = "bounced";
  line.text = "User unknown";
  EXPECT_EQ(Render(line),
            "4fX: to=<x@d>, orig_to=<root>, relay=none, delay=1, delays=0.02/1/0/0, dsn=5.1.1, "
            "status=bounced (User unknown)");
}

}  // namespace
}  // namespace postfleet::scheduler
