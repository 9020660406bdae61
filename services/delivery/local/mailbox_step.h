// A step of an expansion into a user's mailbox or a file: what the helper is to write, and what
// Postfix says of how it went.
//
//   mailbox   sent 2.0.0 delivered to mailbox / delivered to maildir
//   file      sent 2.0.0 delivered to file: /x
//   failures  4.2.0 try again, 4.3.0 no space, 5.2.2 over a limit, else 5.2.0:
//             "cannot update mailbox /x for user y. REASON", "cannot append message to file /x:
//             REASON", "maildir delivery failed: REASON"
//   the helper, or the contents, cannot be had     4.3.0
#pragma once

#include <cstdint>
#include <string>

#include "services/delivery/core/user_actions.h"
#include "services/delivery/local/expansion.h"

namespace postfleet::delivery {

// Return-Path, X-Original-To and, if asked for, Delivered-To, each with LF.
std::string DeliveryFields(const Party& party, bool delivered_to);

// Of kMailbox and kFile. Asks the file system who may write into mail_spool_directory.
MailboxDelivery MailboxFor(const Step& step, const LocalOptions& options, int64_t wall_ms);

// What an administrator should know of it.
void LogMailboxTrouble(const LocalOptions& options, const Step& step, const ActionFailure& failure);

mail::v1::Outcome MailboxOutcome(const Step& step, const ActionFailure& failure);

// What a probe is told where it would go into a mailbox, a file or a command.
mail::v1::Outcome ProbeOutcome(const Step& step);

}  // namespace postfleet::delivery
