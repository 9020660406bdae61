// One attempt from its start to its result: a kept connection, or hosts in their order, until every
// recipient has a final outcome or no host is left. The destinations of the nexthop come one after
// the other, then the fallback relays: not behind one that this machine is a host of, or that
// loops. A destination that cannot be found leads to the next one, though the failure be permanent.
//
// As Postfix's client: a host that cannot be reached or refuses the session makes the next one be
// tried; so does 4xx for recipients, with those recipients. Sessions that got as far as a
// transaction are counted against smtp_mx_session_limit, for each destination. A permanent refusal
// is final at once, unless soft_bounce makes it one of later. destination_failed says that the last
// session ended without the server's judgement and no session of this attempt came to its end;
// no_feedback says that it was our own failure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/delivery/core/agent.h"
#include "services/delivery/core/log_line.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/smtp/connection_cache.h"
#include "services/delivery/smtp/contents.h"
#include "services/delivery/smtp/generic_maps.h"
#include "services/delivery/smtp/host_lookup.h"
#include "services/delivery/smtp/host_tables.h"

namespace postfleet::delivery::smtp {

// What the attempts of one agent share.
struct AgentParts {
  const SmtpOptions& options;
  const SmtpWorld& world;
  Deadlines& deadlines;
  ConnectionCache& cache;
  HostTables* tables = nullptr;
  GenericMaps* generic = nullptr;  // or none
  StatusFilter* status_filter = nullptr;
  uint64_t connections_opened = 0;
};

class AttemptRun : public ConnectionUser, public std::enable_shared_from_this<AttemptRun> {
 public:
  // `over` is called once, after the attempt has been answered; it may destroy this.
  AttemptRun(std::shared_ptr<AgentParts> parts, std::unique_ptr<Attempt> attempt,
             std::function<void()> over);
  ~AttemptRun() override;

  void Start();
  void Cancel();

  void OnUnreachable(Connection& connection, const char* status, const std::string& why) override;
  void OnSession(Connection& connection) override;
  void OnIdleOver(Connection&) override {}

 private:
  using Outcome = mail::v1::Outcome;

  // Hosts of the next destination.
  void LookUp();
  void OnHosts(Hosts hosts);
  // The next host, or the next destination, or the end.
  void TryNext();
  void ListDestinations();
  void Begin();
  // False: the attempt is over.
  bool MapAddresses(Transaction* transaction);
  void OnTransactionOver();
  // The session, or the search for hosts, failed for everybody who is left.
  void OnFailure(Outcome failure);
  // A relayhost or fallback relay that cannot be found is ours to name better: it defers.
  void BlameConfiguration(Outcome* failure) const;
  void FailDestination(const Outcome& failure);
  // For another host, or another day.
  bool IsPutOff(const Outcome& outcome) const;
  bool more_hosts() const { return !stopped_ && (more_here() || more_destinations()); }
  bool more_here() const {
    return !sessions_used_up_ && (!hosts_known_ || next_host_ < hosts_.candidates.size());
  }
  bool more_destinations() const {
    return !last_destination_ && (destinations_.empty() ? may_have_more_destinations()
                                                        : next_destination_ < destinations_.size());
  }
  bool IsUnixSocket() const;
  void WarnOfUnusedFallback() const;
  // Before they are listed.
  bool may_have_more_destinations() const;
  // No host is left for those who are.
  void GiveUp();
  // By best_mx_transport. False: that is not for them.
  bool PassOn(const Outcome& failure);
  // Final; writes the log line.
  void Settle(const mail::v1::Recipient& recipient, Outcome outcome, size_t connection_use = 0);
  void SettleRest(const Outcome& outcome);
  void LetConnectionGo();
  void Finish();
  void Log(const std::string& text) const;
  const std::string& queue_id() const { return attempt_->delivery.queue_id(); }

  const std::shared_ptr<AgentParts> parts_;
  const std::unique_ptr<Attempt> attempt_;
  std::function<void()> over_;
  std::optional<GenericHeader> generic_header_;
  Contents contents_;
  // With generic maps: what the transaction says instead of the delivery.
  mail::v1::Envelope sent_envelope_;
  std::vector<mail::v1::Recipient> sent_recipients_;
  AttemptTimes times_;
  AttemptResult result_;
  // Without a final outcome, and what the last host said about each (empty: no host has).
  std::vector<const mail::v1::Recipient*> open_;
  std::vector<Outcome> last_;
  std::optional<Outcome> last_failure_;  // of the last session that had a transaction
  // Of the last search, connection or greeting, when nobody said anything since.
  std::optional<Outcome> why_;

  std::shared_ptr<Connection> connection_;
  std::string relay_ = "none";
  std::string tried_relay_;
  // Listed and looked up only when no kept connection serves; a kept one belongs to the first.
  std::vector<std::string> destinations_;
  size_t fallbacks_begin_ = 0;
  size_t next_destination_ = 0;
  bool last_destination_ = false;
  // Of the destination that is being tried.
  bool hosts_known_ = false;
  Hosts hosts_;
  uint16_t best_preference_ = 0;
  size_t next_host_ = 0;
  size_t sessions_ = 0;
  bool sessions_used_up_ = false;
  // Nothing else is to be tried.
  bool stopped_ = false;
  bool completed_session_ = false;
  bool read_contents_ = false;
  // The last thing that failed was not the destination's doing.
  bool our_failure_ = false;
  // The last search for hosts found none.
  bool not_found_ = false;
  bool over_already_ = false;
};

}  // namespace postfleet::delivery::smtp
