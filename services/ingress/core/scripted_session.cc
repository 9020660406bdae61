#include "services/ingress/core/scripted_session.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "services/ingress/core/command_rules.h"
#include "services/ingress/core/reject_footer.h"

namespace postfleet::ingress {

using lookup::v1::Answer;
using queue::v1::EnqueueResult;

SessionConfig ScriptedSession::Config() {
  SessionConfig config;
  config.myhostname = "mx.example.com";
  config.banner = "mx.example.com ESMTP Postfleet";
  config.local_rewriting.origin = "example.com";
  config.message_size_limit = 100'000;
  config.recipient_limit = 5;
  config.relay_restrictions = {config::Restriction::kPermitMynetworks,
                               config::Restriction::kPermitSaslAuthenticated,
                               config::Restriction::kDeferUnauthDestination};
  config.command_rules = Rules();
  return config;
}

namespace {

config::Config ConfigOf(std::string_view main_cf) {
  config::Diagnostics ignored;
  return *config::Config::FromText(main_cf, "", {.hostname = "mx.example.com"}, ignored);
}

}  // namespace

std::shared_ptr<CommandRules> ScriptedSession::Rules(std::string_view main_cf) {
  return std::make_shared<CommandRules>(*CommandRules::Open(ConfigOf(main_cf)));
}

std::shared_ptr<RejectFooter> ScriptedSession::Footer(std::string_view main_cf) {
  return std::make_shared<RejectFooter>(*RejectFooter::Open(ConfigOf(main_cf)));
}

ConnectionFacts ScriptedSession::Facts() { return {.name = "unknown", .address = "127.0.0.3"}; }

Answer ScriptedSession::Answer(const std::string& recipient, bool check_listed) {
  lookup::v1::Answer answer;
  const size_t at = recipient.rfind('@');
  const std::string local = recipient.substr(0, at);
  const std::string domain =
      at == std::string::npos ? "example.com" : mail::LowerCasedAscii(recipient.substr(at + 1));
  struct Row {
    std::string_view domain;
    lookup::v1::AddressClass address_class;
    std::vector<std::string_view> users;
  };
  static const std::vector<Row> rows = {
      {"localhost", lookup::v1::ADDRESS_CLASS_LOCAL, {"bob", "root"}},
      {"virt.example", lookup::v1::ADDRESS_CLASS_VIRTUAL_MAILBOX, {"alice"}},
      {"relay.example", lookup::v1::ADDRESS_CLASS_RELAY, {"carl"}},
  };
  answer.set_recipient(Concat(local, '@', domain));
  answer.set_address_class(lookup::v1::ADDRESS_CLASS_DEFAULT);
  answer.set_listed(lookup::v1::Answer::LISTED_NO_TABLE);
  answer.set_transport("smtp");
  answer.set_nexthop(domain);
  if (domain == "fail.example") {
    answer.set_failure("transport_maps: hash:/x: open /x.db: No such file or directory");
  }
  if (domain == "err.example") {
    answer.set_transport("error");
    answer.set_nexthop("5.7.9 go away");
  }
  for (const Row& row : rows) {
    if (row.domain != domain) continue;
    answer.set_address_class(row.address_class);
    const bool listed = std::find(row.users.begin(), row.users.end(), local) != row.users.end();
    answer.set_listed(listed ? lookup::v1::Answer::LISTED_YES : lookup::v1::Answer::LISTED_NO);
  }
  if (!check_listed) answer.set_listed(lookup::v1::Answer::LISTED_UNSPECIFIED);
  return answer;
}

ScriptedSession::ScriptedSession(SessionConfig config, ConnectionFacts facts)
    : config_(std::move(config)),
      session_(std::make_unique<Session>(config_, std::move(facts), *this)) {}

std::string ScriptedSession::NextQueueId() {
  return queue_reached ? Concat("4jXQUEUEID", ++ids_) : "";
}

void ScriptedSession::Take(Actions& actions, std::string* out) {
  for (LogLine& line : actions.log) {
    log.push_back(
        Concat(line.program == LogProgram::kSmtpd ? "smtpd: " : "cleanup: ", line.text.text()));
  }
  for (const RejectEvent& event : actions.rejects) rejects.push_back(event);
  for (Submit& submit : actions.submits) submits.push_back(std::move(submit));
  if (actions.resolve) resolve_ = std::move(actions.resolve);
  if (actions.flush) {
    flushes.push_back(*std::move(actions.flush));
    flush_waits_ = true;
  }
  *out += actions.reply;
  delay_ms_ += actions.delay_ms;
  delayed_ms += actions.delay_ms;
  accepted |= actions.accepted;
  closed |= actions.close;
  buffered_bytes_peak = std::max(buffered_bytes_peak, session_->buffered_bytes());
  actions.Clear();
}

std::string ScriptedSession::Perform(Actions& actions) {
  std::string out;
  Take(actions, &out);
  while (true) {
    if (auto_delay && delay_ms_ > 0) {
      delay_ms_ = 0;
      session_->OnDelayOver(&actions);
    } else if (auto_answer && resolve_) {
      const Resolve resolve = *std::exchange(resolve_, std::nullopt);
      session_->OnResolved(Answer(resolve.recipient, resolve.check_listed), &actions);
    } else if (auto_answer && flush_waits_) {
      flush_waits_ = false;
      session_->OnFlushed(flush_starts, &actions);
    } else if (auto_answer && answered_submits_ < submits.size()) {
      const queue::v1::Submission submission = submits[answered_submits_++].submission;
      if (submission.abandon()) continue;
      session_->OnEnqueued(submission.queue_id(), submission.has_message(), queue_code, &actions);
    } else {
      return out;
    }
    Take(actions, &out);
  }
}

std::string ScriptedSession::Connect() {
  Actions actions;
  session_->OnConnect(&actions);
  return Perform(actions);
}

std::string ScriptedSession::Say(std::string_view bytes) {
  Actions actions;
  session_->OnBytes(bytes, &actions);
  return Perform(actions);
}

std::string ScriptedSession::AnswerLookup() {
  Actions actions;
  const Resolve resolve = *std::exchange(resolve_, std::nullopt);
  session_->OnResolved(Answer(resolve.recipient, resolve.check_listed), &actions);
  return Perform(actions);
}

std::string ScriptedSession::AnswerQueue(EnqueueResult::Code code) {
  Actions actions;
  const queue::v1::Submission submission = submits.at(answered_submits_++).submission;
  session_->OnEnqueued(submission.queue_id(), submission.has_message(), code, &actions);
  return Perform(actions);
}

std::string ScriptedSession::EndDelay() {
  Actions actions;
  delay_ms_ = 0;
  session_->OnDelayOver(&actions);
  return Perform(actions);
}

std::string ScriptedSession::Timeout() {
  Actions actions;
  session_->OnTimeout(&actions);
  return Perform(actions);
}

std::string ScriptedSession::Shutdown() {
  Actions actions;
  session_->OnShutdown(&actions);
  return Perform(actions);
}

void ScriptedSession::Disconnect() {
  Actions actions;
  session_->OnDisconnect(&actions);
  Perform(actions);
}

std::string ScriptedSession::ContentOf(std::string_view queue_id) const {
  std::string content;
  for (const Submit& submit : submits) {
    if (submit.submission.queue_id() == queue_id) content += submit.content;
  }
  return content;
}

std::string ScriptedSession::LastContent() const {
  return submits.empty() ? "" : ContentOf(submits.back().submission.queue_id());
}

}  // namespace postfleet::ingress
