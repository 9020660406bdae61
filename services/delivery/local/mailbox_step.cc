#include "services/delivery/local/mailbox_step.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/core/mailbox_fields.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

Outcome Make(Outcome::Action action, const std::string& status, const std::string& text) {
  Outcome outcome;
  outcome.set_action(action);
  outcome.set_status(status);
  outcome.set_text(text);
  return outcome;
}

bool IsMaildir(const Step& step) { return step.text.ends_with('/'); }

// local(8): in a folder that its users may write the mailbox is made as the user, in a folder of a
// group with that group, else as root, who gives it away.
void ChooseSpoolRights(const LocalOptions& options, MailboxDelivery* delivery) {
  struct stat folder;
  if (stat(options.mail_spool_directory.c_str(), &folder) != 0) return;
  if ((folder.st_mode & S_IWOTH) != 0) return;
  if ((folder.st_mode & S_IWGRP) != 0) {
    delivery->user.gid = folder.st_gid;
    return;
  }
  delivery->owner = delivery->user;
  delivery->user = {.uid = 0, .gid = 0};
}

std::string StatusOf(int error, const std::string& try_again) {
  switch (error) {
    case EAGAIN:
    case ESTALE:
      return try_again;
    case ENOSPC:
      return "4.3.0";
    case EFBIG:
    case EDQUOT:
      return "5.2.2";
    // Ours, not the mailbox'.
    case EIO:
    case EROFS:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return "4.3.0";
    default:
      return "5.2.0";
  }
}

// Of what is wrong with the file itself, which no error number says. "": nothing of that kind.
std::string StatusOfFile(std::string_view reason) {
  if (reason.ends_with("is not owned by recipient")) return "4.2.0";
  if (reason.ends_with("is not a regular file")) return "5.2.0";
  if (reason == "file is executable") return "5.7.1";
  return "";
}

std::string Reason(const ActionFailure& failure) {
  if (failure.error_number == 0 || !StatusOfFile(failure.text).empty()) return failure.text;
  return Concat(failure.text, ": ", std::string_view(strerror(failure.error_number)));
}

}  // namespace

std::string DeliveryFields(const Party& party, bool delivered_to) {
  const std::string& original = party.recipient.original_address().empty()
                                    ? party.recipient.address()
                                    : party.recipient.original_address();
  std::string fields = Concat("Return-Path: <", AddressInHeader(party.sender),
                              ">\nX-Original-To: ", AddressInHeader(original), "\n");
  if (delivered_to) ConcatTo(&fields, "Delivered-To: ", AddressInHeader(party.delivered), "\n");
  return fields;
}

void LogMailboxTrouble(const LocalOptions& options, const Step& step,
                       const ActionFailure& failure) {
  if (failure.kind == ActionFailure::Kind::kNone) return;
  const std::string reason = Reason(failure);
  if (IsMaildir(step) && failure.error_number == EACCES) {
    maillog::Warning(options.program, "maildir access problem for UID/GID=", step.rights.uid, "/",
                     step.rights.gid, ": ", reason);
    maillog::Warning(options.program, "perhaps you need to create the maildirs in advance");
  } else if (failure.text.ends_with("is not owned by recipient")) {
    maillog::Warning(options.program,
                     "specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership "
                     "mismatch");
  } else if (failure.kind == ActionFailure::Kind::kRefused && StatusOfFile(reason).empty()) {
    maillog::Warning(options.program, "the delivery helper refused: ", reason);
  }
}

MailboxDelivery MailboxFor(const Step& step, const LocalOptions& options, int64_t wall_ms) {
  MailboxDelivery delivery;
  delivery.kind = IsMaildir(step) ? MailboxDelivery::Kind::kMaildir : MailboxDelivery::Kind::kMbox;
  delivery.user = step.rights;
  // Folders of a Maildir are made below the user's home or the spool; of another file's none is.
  if (IsMaildir(step) && step.kind == Step::Kind::kMailbox) {
    delivery.base =
        options.home_mailbox.empty() ? options.mail_spool_directory : step.party.rights->home;
  }
  delivery.path = step.text;
  delivery.file_bytes_max = options.mailbox_bytes_max;
  delivery.locks = options.locks;
  if (step.kind == Step::Kind::kFile) {
    delivery.is_any_file = true;
  } else {
    delivery.must_be_owned = options.strict_mailbox_ownership;
  }
  if (step.in_spool) ChooseSpoolRights(options, &delivery);
  if (!IsMaildir(step)) delivery.header = MboxFromLine(step.party.sender, wall_ms);
  delivery.header += DeliveryFields(step.party, options.delivered_to_files);
  return delivery;
}

Outcome MailboxOutcome(const Step& step, const ActionFailure& failure) {
  const bool is_file = step.kind == Step::Kind::kFile;
  switch (failure.kind) {
    case ActionFailure::Kind::kNone: {
      Outcome sent = Make(Outcome::ACTION_SENT, "2.0.0",
                          IsMaildir(step) ? "delivered to maildir"
                          : is_file       ? Concat("delivered to file: ", step.text)
                                          : "delivered to mailbox");
      sent.set_success(Outcome::SUCCESS_DELIVERED);
      return sent;
    }
    case ActionFailure::Kind::kCancelled:
      return Make(Outcome::ACTION_DEFERRED, "4.3.2", "delivery was called off");
    case ActionFailure::Kind::kUnavailable:
    case ActionFailure::Kind::kContents:
      return Make(Outcome::ACTION_DEFERRED, "4.3.0", Concat("mail system error: ", failure.text));
    case ActionFailure::Kind::kRefused:
    case ActionFailure::Kind::kFailed:
      break;
  }
  const std::string reason = Reason(failure);
  const std::string text = IsMaildir(step) ? Concat("maildir delivery failed: ", reason)
                           : is_file
                               ? Concat("cannot append message to file ", step.text, ": ", reason)
                               : Concat("cannot update mailbox ", step.text, " for user ",
                                        step.party.user, ". ", reason);
  std::string status = StatusOfFile(failure.text);
  if (status.empty()) {
    // What the helper may not do is our configuration's fault.
    status = failure.kind == ActionFailure::Kind::kRefused
                 ? "4.3.5"
                 : StatusOf(failure.error_number, is_file ? "5.2.0" : "4.2.0");
  }
  return Make(status.starts_with('4') ? Outcome::ACTION_DEFERRED : Outcome::ACTION_BOUNCED, status,
              text);
}

Outcome ProbeOutcome(const Step& step) {
  std::string text = "delivers to mailbox";
  if (step.kind == Step::Kind::kCommand) {
    text = Concat("delivers to command: ", step.text);
  } else if (step.kind == Step::Kind::kFile) {
    text = Concat("delivers to file: ", step.text);
  } else if (IsMaildir(step)) {
    text = "delivers to maildir";
  }
  Outcome outcome = Make(Outcome::ACTION_SENT, "2.0.0", text);
  outcome.set_success(Outcome::SUCCESS_DELIVERED);
  return outcome;
}

}  // namespace postfleet::delivery
