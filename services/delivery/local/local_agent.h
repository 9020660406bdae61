// The agent of the program "local": delivers to the system's users, as local(8) does.
//
// Each recipient is expanded (expansion.h) and its parts delivered one after the other, each with a
// log line; then what it forwards goes to the queue, and what it gives to another transport there.
// The recipient's outcome is deferred if a part was, else bounced if a part was, else sent.
//
// It differs from Postfix in:
//   * files that root owns and others cannot read, as :include: files, are not read
//   (user_actions.h)
//   * where several of a recipient's parts go to other transports (mailbox_transport), all but one
//     are forwarded: an attempt is passed on once
//   * of a list's commands and files that fail its sender is told, not its owner- alias
//   * of a recipient's parts that failed or wait, a notice names kPartsMax and counts the others
//
// Tables and accounts are asked on the loop, which they hold up: right for files; a name service of
// the network (LDAP by NSS) holds up other deliveries of this worker for as long as it thinks.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/core/answering_agent.h"
#include "services/delivery/core/forwarder.h"
#include "services/delivery/core/log_line.h"
#include "services/delivery/core/routes.h"
#include "services/delivery/core/shared_contents.h"
#include "services/delivery/core/user_actions.h"
#include "services/delivery/local/delivered_to.h"
#include "services/delivery/local/expansion.h"

namespace postfleet::delivery {

struct LocalWorld {
  std::shared_ptr<UserActions> actions;
  // nullptr: there are none, and what needs them is deferred.
  std::shared_ptr<Forwarder> forwarder;
  std::shared_ptr<Routes> routes;
  std::shared_ptr<Accounts> accounts;
  const Clock* clock = &SystemClock();
};

class LocalAgent : public Agent {
 public:
  // Of one recipient: Outcome.parts.
  static constexpr int kPartsMax = 250;

  LocalAgent(LocalOptions options, LocalWorld world);

  void Start(std::unique_ptr<Attempt> attempt) override;
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override {}

 private:
  struct Running {
    std::unique_ptr<Attempt> attempt;
    AttemptTimes times;
    AttemptResult result;
    std::unique_ptr<SharedContents> contents;
    std::unique_ptr<ContentReader> header_reader;
    DeliveredTo delivered;
    // Of the recipient at work.
    int recipient = 0;
    std::unique_ptr<Expansion> expansion;
    std::optional<mail::v1::Outcome> outcome;                         // the worst of the parts'
    google::protobuf::RepeatedPtrField<mail::v1::OutcomePart> parts;  // that failed or wait
    uint32_t parts_more = 0;
    std::vector<Step> passes;
    std::vector<Forwarding> forwards;
    size_t forwards_sent = 0;
    bool is_passed = false;
    uint64_t action = 0;
    bool is_cancelled = false;

    bool is_probe() const { return attempt->delivery.envelope().probe(); }
    const mail::v1::Recipient& recipient_at_work() const {
      return attempt->delivery.recipients(recipient);
    }
  };

  void ReadHeader(uint64_t id);
  void OnHeader(uint64_t id, const absl::Status& status, const rpc::Payload& payload);
  void BeginRecipient(uint64_t id);
  // Up to the next step that is answered later.
  void Walk(uint64_t id);
  // True: it is answered already.
  bool Take(uint64_t id, Running& running, Step step);
  void Read(uint64_t id, Running& running, const Step& step);
  void FindRoute(uint64_t id, const Running& running, const Step& step);
  void WriteMailbox(uint64_t id, Running& running, Step step);
  void RunCommand(uint64_t id, Running& running, Step step);
  void OnPart(uint64_t id, const Party& party, mail::v1::Outcome outcome);
  void PrepareForwards(Running& running);
  void Forward(uint64_t id);
  void TellOfForwards(uint64_t id, Running& running);
  void OnForwarded(uint64_t id, const absl::Status& status, const std::string& queue_id);
  void EndRecipient(uint64_t id);
  // What becomes of the recipient as a whole.
  void Complete(Running& running, const mail::v1::Recipient& recipient);
  void PassOn(Running& running, const Step& step);
  // Logs it, with what the filter and soft_bounce make of it.
  mail::v1::Outcome Tell(Running& running, const Party& party, mail::v1::Outcome outcome);
  static void KeepPart(Running& running, const mail::v1::Recipient& part,
                       const mail::v1::Outcome& outcome);
  void DeferAll(uint64_t id, const std::string& status, const std::string& text);
  void Finish(uint64_t id);
  Running* Find(uint64_t id);

  const LocalOptions options_;
  const LocalWorld world_;
  LocalTables tables_;
  std::unique_ptr<StatusFilter> status_filter_;  // or none
  AnsweringAgent error_;
  AnsweringAgent discard_;
  std::map<uint64_t, Running> running_;  // by delivery id
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace postfleet::delivery
