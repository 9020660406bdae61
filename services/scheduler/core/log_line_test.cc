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

// As Postfix 3.7.11 writes them.
TEST(Render, AddressesAreQuotedSoThatTheirEndCannotBeForged) {
  LogLine line{.kind = LogLine::Kind::kQueueActive, .queue_id = "4fX", .sender = "a\"b\\c@c.d"};
  EXPECT_EQ(Render(line), "4fX: from=<\"a\\\"b\\\\c\"@c.d>, size=0, nrcpt=0 (queue active)");
  line.sender = ".a@c.d";
  line.kind = LogLine::Kind::kExpired;
  EXPECT_EQ(Render(line), "4fX: from=<\".a\"@c.d>, status=expired, returned to sender");
  line.kind = LogLine::Kind::kRecipient;
  line.recipient = "x>, status=sent@e.f";
  line.original_recipient = "q r";
  EXPECT_EQ(Render(line).text().substr(0, 50),
            "4fX: to=<\"x>, status=sent\"@e.f>, orig_to=<\"q r\">, ");
  line.sender = "";
  line.kind = LogLine::Kind::kQueueActive;
  EXPECT_EQ(Render(line), "4fX: from=<>, size=0, nrcpt=0 (queue active)");
}

}  // namespace
}  // namespace postfleet::scheduler
