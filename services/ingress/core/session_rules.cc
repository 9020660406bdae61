// What tables say of commands and replies: smtpd_command_filter and its kin, the reject footer.
#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/ingress/core/command_rules.h"
#include "services/ingress/core/reject_footer.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kLoggedCommandBytesMax = 100;

std::string_view TextOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// "Nov 23 08:53:02" of "Mon, 23 Nov 2026 08:53:02 +0000 (UTC)".
std::string LogTime(const message::MailTime& time) {
  const std::string date = message::FormatMailDate(time);
  return Concat(date.substr(8, 3), ' ', date.substr(5, 2), ' ', date.substr(17, 8));
}

}  // namespace

void Session::Warn(const absl::Status& status, Actions* actions) {
  Log(LogProgram::kSmtpd, Concat("warning: ", TextOf(status)), actions);
}

void Session::FindKeywords(Actions* actions) {
  if (config_.command_rules == nullptr) return;
  auto discarded = config_.command_rules->DiscardedFor(facts_.address);
  keywords_known_ = discarded.ok();
  if (!discarded.ok()) return Warn(discarded.status(), actions);
  if (*discarded) discarded_keywords_ = **std::move(discarded);
}

bool Session::EndForTables(std::string_view stage, Actions* actions) {
  const std::string text = Concat("4.3.0 ", config_.myhostname, " Server local data error");
  Refuse(stage, RejectReason::kLookup, 421, text, actions);
  End("", actions);
  return false;
}

bool Session::Filter(std::string_view line, std::optional<std::string>* replacement,
                     Actions* actions) {
  if (config_.command_rules == nullptr) return true;
  auto filtered = config_.command_rules->Filtered(line);
  if (!filtered.ok()) {
    Warn(filtered.status(), actions);
    return EndForTables(where_, actions);
  }
  *replacement = *std::move(filtered);
  if (*replacement) {
    Log(LogProgram::kSmtpd,
        Concat(client_, ": replacing command \"", line.substr(0, kLoggedCommandBytesMax),
               "\" with \"", std::string_view(**replacement).substr(0, kLoggedCommandBytesMax),
               '"'),
        actions);
  }
  return true;
}

bool Session::IsNoop(std::string_view word, Actions* actions) {
  if (config_.command_rules == nullptr) return false;
  const absl::StatusOr<bool> noop = config_.command_rules->IsNoop(word);
  if (!noop.ok()) Warn(noop.status(), actions);
  return noop.ok() && *noop;
}

bool Session::IsForbidden(std::string_view word, Actions* actions) {
  // A message header: no mail client says it here.
  if (word.ends_with(':')) return true;
  if (config_.command_rules == nullptr) return false;
  const absl::StatusOr<bool> forbidden = config_.command_rules->IsForbidden(word);
  if (!forbidden.ok()) Warn(forbidden.status(), actions);
  return forbidden.ok() && *forbidden;
}

void Session::AppendFooter(size_t start, std::string* reply, Actions* actions) {
  constexpr size_t kLineEnd = 2;
  const std::string_view line =
      std::string_view(*reply).substr(start, reply->size() - start - kLineEnd);
  const std::string now = LogTime(surroundings_.MailTimeAt(surroundings_.WallMillis()));
  absl::StatusOr<std::string> complete = config_.reject_footer->Complete(
      line, {.client_address = facts_.address,
             .client_name = facts_.name,
             .client_port = facts_.port,
             .localtime = now,
             .server_name = config_.myhostname,
             .sender = transaction_ == nullptr ? "" : transaction_->sender_text});
  if (!complete.ok()) return Warn(complete.status(), actions);
  reply->replace(start, std::string::npos, *complete);
}

}  // namespace postfleet::ingress
