#include "services/delivery/smtp/smtp_agent.h"

#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "libs/base/maillog.h"
#include "services/delivery/smtp/attempt_run.h"

namespace postfleet::delivery::smtp {

// Lives on while lookups refer to it.
class SmtpAgent::Core : public AgentParts {
 public:
  Core(SmtpOptions options, SmtpWorld world)
      : AgentParts{options_, world_, deadlines_, cache_},
        options_(std::move(options)),
        world_(std::move(world)),
        deadlines_(*world_.loop, *world_.clock, options_.tick),
        cache_(options_, world_) {
    std::vector<std::string> own_addresses;
    for (const asio::ip::address& own : options_.own_addresses) {
      own_addresses.push_back(own.to_string());
    }
    auto maps = GenericMaps::Open(options_.generic, options_.program, std::move(own_addresses));
    // FromConfig has opened them. Without them no mail may leave.
    if (!maps.ok()) {
      maillog::Warning(options_.program, std::string(maps.status().message()));
      std::abort();
    }
    generic_maps_ = *std::move(maps);
    generic = generic_maps_.get();
    auto tables = HostTables::Open(options_.host_tables, options_.program);
    if (!tables.ok()) {
      maillog::Warning(options_.program, std::string(tables.status().message()));
      std::abort();
    }
    host_tables_ = *std::move(tables);
    this->tables = host_tables_.get();
    auto filter = StatusFilter::Open(options_.status_filter);
    if (!filter.ok()) {
      maillog::Warning(options_.program, std::string(filter.status().message()));
      std::abort();
    }
    status_filter_ = *std::move(filter);
    this->status_filter = status_filter_.get();
    deadlines_.set_on_tick([this] { return cache_.Sweep(); });
  }

  static void Start(const std::shared_ptr<Core>& core, std::unique_ptr<Attempt> attempt) {
    const uint64_t id = attempt->delivery.id();
    const std::string destination = attempt->delivery.nexthop();
    core->cache_.AttemptStarts(destination);
    core->deadlines_.StartTimer();
    auto run = std::make_shared<AttemptRun>(core, std::move(attempt),
                                            [core = core.get(), id, destination] {
                                              core->cache_.AttemptEnds(destination);
                                              core->runs_.erase(id);
                                            });
    core->runs_[id] = run;
    run->Start();
  }

  void Cancel(uint64_t id) {
    const auto found = runs_.find(id);
    if (found != runs_.end()) std::shared_ptr(found->second)->Cancel();
  }

  void CloseIdle() { cache_.CloseIdle(); }

  void Shut() {
    runs_.clear();
    cache_.CloseIdle();
    deadlines_.Stop();
  }

  size_t idle_connections() const { return cache_.idle_connections(); }
  size_t running() const { return runs_.size(); }

 private:
  const SmtpOptions options_;
  const SmtpWorld world_;
  Deadlines deadlines_;
  ConnectionCache cache_;
  std::unique_ptr<HostTables> host_tables_;
  std::unique_ptr<GenericMaps> generic_maps_;
  std::unique_ptr<StatusFilter> status_filter_;
  std::unordered_map<uint64_t, std::shared_ptr<AttemptRun>> runs_;
};

SmtpAgent::SmtpAgent(SmtpOptions options, SmtpWorld world)
    : core_(std::make_shared<Core>(std::move(options), std::move(world))) {}

SmtpAgent::~SmtpAgent() { core_->Shut(); }

void SmtpAgent::Start(std::unique_ptr<Attempt> attempt) { Core::Start(core_, std::move(attempt)); }
void SmtpAgent::Cancel(uint64_t delivery_id) { core_->Cancel(delivery_id); }
void SmtpAgent::CloseIdle() { core_->CloseIdle(); }
size_t SmtpAgent::idle_connections() const { return core_->idle_connections(); }
size_t SmtpAgent::running_attempts() const { return core_->running(); }
uint64_t SmtpAgent::connections_opened() const { return core_->connections_opened; }

}  // namespace postfleet::delivery::smtp
