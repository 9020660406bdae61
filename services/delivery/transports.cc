#include "services/delivery/transports.h"

#include <memory>
#include <random>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/dns/late_resolver.h"
#include "libs/dns/metered_resolver.h"
#include "libs/dns/native_resolver.h"
#include "libs/dns/unbound_resolver.h"
#include "services/delivery/bounce/bounce_agent.h"
#include "services/delivery/core/answering_agent.h"
#include "services/delivery/local/local_agent.h"
#include "services/delivery/lookup_routes.h"
#include "services/delivery/mailbox/virtual_agent.h"
#include "services/delivery/pipe/pipe_agent.h"
#include "services/delivery/privileged/helper_actions.h"
#include "services/delivery/privileged/helper_connections.h"
#include "services/delivery/queue_forwarder.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery {

// One set of connections to the privileged helper, for all agents that write mailboxes.
class SharedMailboxes {
 public:
  explicit SharedMailboxes(std::vector<int> sockets) : sockets_(std::move(sockets)) {}
  std::shared_ptr<privileged::HelperConnections> Get(runtime::EventLoop& loop) {
    if (connections_ == nullptr) {
      connections_ = std::make_shared<privileged::HelperConnections>(loop, sockets_);
    }
    return connections_;
  }

 private:
  const std::vector<int> sockets_;
  std::shared_ptr<privileged::HelperConnections> connections_;
};

std::shared_ptr<SharedMailboxes> ShareMailboxes(std::vector<int> helper_fds) {
  return std::make_shared<SharedMailboxes>(std::move(helper_fds));
}

namespace {

// A transport whose maxproc is 0 has no limit of its own; sockets have.
constexpr uint32_t kSlotsMax = 10'000;

uint32_t SlotsOf(const config::Config& config, const config::MasterService& service) {
  const int64_t maxproc =
      service.maxproc.value_or(static_cast<int>(config.GetInt("default_process_limit")));
  return maxproc <= 0 ? kSlotsMax : static_cast<uint32_t>(std::min<int64_t>(maxproc, kSlotsMax));
}

// error, retry and discard by these names need no agent.
bool IsAnsweredByScheduler(const config::MasterService& service) {
  return service.name == "error" || service.name == "retry" || service.name == "discard";
}

// The resolvers of all SMTP and LMTP transports: made on the loop by the first that needs them.
class SharedResolver {
 public:
  explicit SharedResolver(metrics::Registry* metrics) : metrics_(metrics) {}
  dns::Resolver* GetNative(runtime::EventLoop& loop) {
    if (native_ == nullptr) {
      native_ = Metered(std::make_unique<dns::NativeResolver>(loop.io()), SystemClock());
    }
    return native_.get();
  }
  dns::Resolver* Get(runtime::EventLoop& loop, const Clock& clock) {
    if (resolver_ == nullptr) {
      resolver_ = Metered(std::make_unique<dns::LateResolver>(
                              loop.io(), clock, "smtp",
                              [&loop]() -> absl::StatusOr<std::unique_ptr<dns::Resolver>> {
                                return dns::UnboundResolver::Create(loop.io(), {});
                              }),
                          clock);
    }
    return resolver_.get();
  }

 private:
  std::unique_ptr<dns::Resolver> Metered(std::unique_ptr<dns::Resolver> resolver,
                                         const Clock& clock) const {
    if (metrics_ == nullptr) return resolver;
    return std::make_unique<dns::MeteredResolver>(std::move(resolver), *metrics_, clock);
  }

  metrics::Registry* const metrics_;
  std::unique_ptr<dns::Resolver> resolver_;
  std::unique_ptr<dns::Resolver> native_;
};

// What agents have done with users' rights: made for the first that does.
class SharedActions {
 public:
  // `host`: in the names of files in Maildirs.
  SharedActions(std::shared_ptr<SharedMailboxes> mailboxes, std::string host)
      : mailboxes_(std::move(mailboxes)), host_(std::move(host)) {}
  std::shared_ptr<privileged::HelperConnections> Connections(runtime::EventLoop& loop) {
    return mailboxes_->Get(loop);
  }
  std::shared_ptr<UserActions> Get(runtime::EventLoop& loop, const Clock& clock) {
    if (actions_ == nullptr) {
      actions_ = std::make_shared<privileged::HelperActions>(loop, Connections(loop), host_, clock);
    }
    return actions_;
  }

 private:
  const std::shared_ptr<SharedMailboxes> mailboxes_;
  const std::string host_;
  std::shared_ptr<UserActions> actions_;
};

// What forwards mail and asks for routes: made for the first agent that does, gone with the last.
class SharedSubmission {
 public:
  SharedSubmission(const config::Config& config, TransportWorld& world)
      : options_{.name = Concat("delivery@", config.GetString("myhostname")),
                 .myhostname = config.GetString("myhostname"),
                 .mail_name = config.GetString("mail_name"),
                 .queue = world.queue,
                 .clock = world.clock},
        lookup_(world.lookup) {}

  // nullptr: there is no queue.
  std::shared_ptr<Forwarder> ForwarderFor(runtime::EventLoop& loop) {
    if (!options_.queue) return nullptr;
    std::shared_ptr<QueueForwarder> forwarder = forwarder_.lock();
    if (forwarder == nullptr) {
      forwarder_ = forwarder = std::make_shared<QueueForwarder>(loop, options_);
    }
    return forwarder;
  }
  // nullptr: there is no lookup.
  std::shared_ptr<Routes> RoutesFor(runtime::EventLoop& loop) {
    if (lookup_ == nullptr) return nullptr;
    std::shared_ptr<LookupRoutes> routes = routes_.lock();
    if (routes == nullptr) {
      routes_ = routes = std::make_shared<LookupRoutes>(loop, lookup_, *options_.clock);
    }
    return routes;
  }

 private:
  const ForwarderOptions options_;
  const std::shared_ptr<grpc::Channel> lookup_;
  std::weak_ptr<QueueForwarder> forwarder_;
  std::weak_ptr<LookupRoutes> routes_;
};

smtp::Random SystemRandom() {
  auto engine = std::make_shared<std::mt19937_64>(std::random_device()());
  return [engine](uint32_t bound) {
    return std::uniform_int_distribution<uint32_t>(0, bound - 1)(*engine);
  };
}

// The closures that make agents hold the resolvers, which agents refer to.
std::unique_ptr<Agent> MakeSmtpAgent(const smtp::SmtpOptions& options, SharedResolver& resolver,
                                     const Clock* clock, runtime::EventLoop& loop) {
  return std::make_unique<smtp::SmtpAgent>(
      options, smtp::SmtpWorld{
                   .loop = &loop,
                   .resolver = resolver.Get(loop, *clock),
                   .native_resolver = options.look_up_native ? resolver.GetNative(loop) : nullptr,
                   .clock = clock,
                   .random = SystemRandom()});
}

std::unique_ptr<Agent> MakeLocalAgent(const LocalOptions& options, SharedActions& actions,
                                      SharedSubmission& submission, const Clock* clock,
                                      runtime::EventLoop& loop) {
  return std::make_unique<LocalAgent>(options,
                                      LocalWorld{.actions = actions.Get(loop, *clock),
                                                 .forwarder = submission.ForwarderFor(loop),
                                                 .routes = submission.RoutesFor(loop),
                                                 .accounts = std::make_shared<SystemAccounts>(),
                                                 .clock = clock});
}

}  // namespace

absl::StatusOr<std::vector<TransportAgent>> TransportsFrom(const config::Config& config,
                                                           TransportWorld world) {
  std::vector<TransportAgent> transports;
  const auto resolver = std::make_shared<SharedResolver>(world.metrics);
  const auto submission = std::make_shared<SharedSubmission>(config, world);
  std::shared_ptr<SharedMailboxes> mailboxes = world.mailboxes.lock();
  const auto actions = std::make_shared<SharedActions>(
      mailboxes != nullptr ? std::move(mailboxes) : ShareMailboxes({}),
      VirtualOptions::FromConfig(config).host);
  for (const config::MasterService& service : config.master_cf().services) {
    if (service.type != config::ServiceType::kUnix) continue;
    const absl::StatusOr<config::Config> own = config.WithOverrides(service);
    if (!own.ok()) return own.status();
    const std::string program = maillog::ProgramOf(own->GetString("syslog_name"), service.command);
    TransportAgent transport{.transport = service.name, .slots = SlotsOf(config, service)};
    if (service.command == "smtp" || service.command == "lmtp") {
      const absl::StatusOr<smtp::SmtpOptions> options = smtp::SmtpOptions::FromConfig(
          *own,
          service.command == "lmtp" ? smtp::ClientProtocol::kLmtp : smtp::ClientProtocol::kSmtp);
      if (!options.ok()) return options.status();
      transport.make = [options = *options, resolver,
                        clock = world.clock](runtime::EventLoop& loop) {
        return MakeSmtpAgent(options, *resolver, clock, loop);
      };
    } else if (service.command == "virtual") {
      VirtualOptions options = VirtualOptions::FromConfig(*own);
      options.service = service.name;
      options.program = program;
      if (!options.problem.ok()) return options.problem;
      const auto filter = StatusFilter::Open(options.status_filter);
      if (!filter.ok()) return filter.status();
      transport.make = [options, actions, clock = world.clock](runtime::EventLoop& loop) {
        return std::make_unique<VirtualAgent>(options, actions->Connections(loop),
                                              actions->Get(loop, *clock), *clock);
      };
    } else if (service.command == "local") {
      absl::StatusOr<LocalOptions> options = LocalOptions::FromConfig(*own);
      if (!options.ok()) return options.status();
      options->service = service.name;
      options->program = program;
      const auto filter = StatusFilter::Open(options->status_filter);
      if (!filter.ok()) return filter.status();
      transport.make = [options = *std::move(options), actions, submission,
                        clock = world.clock](runtime::EventLoop& loop) {
        return MakeLocalAgent(options, *actions, *submission, clock, loop);
      };
    } else if (service.command == "pipe") {
      const absl::StatusOr<PipeOptions> options = PipeOptions::FromConfig(*own, service);
      if (!options.ok()) return options.status();
      const auto filter = StatusFilter::Open(options->status_filter);
      if (!filter.ok()) return filter.status();
      transport.make = [options = *options, actions,
                        clock = world.clock](runtime::EventLoop& loop) {
        return std::make_unique<PipeAgent>(options, actions->Get(loop, *clock), *clock);
      };
    } else if (service.command == "bounce" && service.name == "bounce") {
      transport.make = [options = BounceOptions::FromConfig(*own),
                        clock = world.clock](runtime::EventLoop&) {
        return std::make_unique<BounceAgent>(options, *clock);
      };
    } else if (IsAnsweredByScheduler(service)) {
      continue;
    } else if (service.command == "error" || service.command == "discard") {
      using Kind = AnsweringAgent::Kind;
      transport.make = [kind = service.command == "error" ? Kind::kError : Kind::kDiscard, program,
                        soft_bounce = own->GetBool("soft_bounce"),
                        clock = world.clock](runtime::EventLoop&) {
        return std::make_unique<AnsweringAgent>(kind, soft_bounce, *clock, program);
      };
    } else {
      continue;
    }
    transports.push_back(std::move(transport));
  }
  return transports;
}

absl::StatusOr<std::function<void()>> PrepareTransports(const config::Config& config,
                                                        TransportWorld world,
                                                        DeliveryService& delivery) {
  absl::StatusOr<std::vector<TransportAgent>> transports = TransportsFrom(config, std::move(world));
  if (!transports.ok()) return transports.status();
  return [&delivery, transports = *std::move(transports)] { delivery.Reconfigure(transports); };
}

}  // namespace postfleet::delivery
