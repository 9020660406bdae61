// Variable envelope return paths (POSTFIX VERP_README): the sender of a delivery names its
// recipient, so that a list sees from a bounce whose it is.
//
//   list@example.org, "+=", user@example.com  ->  list+user=example.com@example.org
//
// The recipient is the one that was asked for, before it was rewritten. Pure.
#pragma once

#include "proto/postfleet/mail/v1/mail.pb.h"

namespace postfleet::scheduler {

// Each recipient has a delivery of its own; false for the null sender.
bool IsVerp(const mail::v1::Envelope& envelope);

// The sender of `envelope` becomes that of a delivery to `recipient`. IsVerp(*envelope).
void SetVerpSender(const mail::v1::Recipient& recipient, mail::v1::Envelope* envelope);

}  // namespace postfleet::scheduler
