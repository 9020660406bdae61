#include "services/delivery/smtp/host_lookup.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

namespace postfleet::delivery::smtp {
namespace {

using dns::Result;
using dns::Type;

const char* StatusOf(Result result) {
  switch (result) {
    case Result::kNoName:
    case Result::kNoData:
    case Result::kBadName:
      return "5.4.4";
    case Result::kMalformed:
      return "5.4.3";
    default:
      return "4.4.3";
  }
}

// As getaddrinfo's own words.
std::string NativeFailureText(Result result, std::string_view host) {
  const char* why = result == Result::kNoName   ? "Name or service not known"
                    : result == Result::kNoData ? "No address associated with hostname"
                                                : "Temporary failure in name resolution";
  return Concat("unable to look up host ", host, ": ", why);
}

// A host whose addresses are looked up: an MX, an SRV target, or the domain itself.
struct Host {
  std::string name;
  uint16_t preference = 0;
  uint16_t port = 0;
  size_t open = 0;  // lookups
  bool asked_native = false;
  std::vector<Candidate> addresses;
};

class Search : public std::enable_shared_from_this<Search> {
 public:
  Search(const SmtpOptions& options, const SmtpWorld& world, std::function<void(Hosts)> done)
      : options_(options), world_(world), done_(std::move(done)) {}

  void Start(std::string_view text) {
    if (options_.protocol == ClientProtocol::kLmtp) {
      constexpr std::string_view kUnix = "unix:";
      constexpr std::string_view kInet = "inet:";
      if (text.starts_with(kUnix)) {
        hosts_.candidates.push_back(
            {.host = options_.myhostname, .path = std::string(text.substr(kUnix.size()))});
        return done_(std::move(hosts_));
      }
      if (text.starts_with(kInet)) text.remove_prefix(kInet.size());
    }
    if (!options_.use_ipv4 && !options_.use_ipv6) {
      return Fail("4.4.4", "all network protocols are disabled");
    }
    const auto nexthop = ParseNexthop(text, options_.port, /*bare_address=*/!options_.look_up_mx);
    if (!nexthop.ok()) {
      return Fail(StatusOf(Result::kBadName), dns::FailureText(Result::kBadName, Type::kMx, text));
    }
    name_ = nexthop->host;
    port_ = nexthop->port;
    hosts_.detect_loop = options_.protocol == ClientProtocol::kSmtp && port_ == options_.loop_port;
    if (nexthop->is_address) return TakeAddress();
    if (nexthop->literal_host) return LookUpDomainAsHost();
    service_ = nexthop->service.empty() ? options_.service : nexthop->service;
    if (IsServiceAsked()) return LookUpService();
    LookUpDomain();
  }

 private:
  bool IsServiceAsked() const {
    return std::find(options_.srv_services.begin(), options_.srv_services.end(),
                     mail::LowerCasedAscii(service_)) != options_.srv_services.end();
  }

  bool IsUsed(const asio::ip::address& address) const {
    return address.is_v4() ? options_.use_ipv4 : options_.use_ipv6;
  }

  void TakeAddress() {
    const asio::ip::address address = asio::ip::make_address(name_);
    if (!IsUsed(address)) {
      return Fail(StatusOf(Result::kBadName), dns::FailureText(Result::kBadName, Type::kA, name_));
    }
    hosts_.candidates.push_back({.host = name_, .address = address, .port = port_});
    Finish();
  }

  void LookUpDomain() {
    if (!options_.look_up_mx) return LookUpDomainAsHost();
    world_.resolver->Lookup(
        Type::kMx, name_,
        [self = shared_from_this()](const dns::Answer& answer) { self->OnMx(answer); });
  }

  void LookUpDomainAsHost() { LookUpHosts({{.name = name_, .port = port_}}); }

  void OnMx(const dns::Answer& answer) {
    if (answer.absent()) return LookUpDomainAsHost();
    if (!answer.found()) {
      if (options_.ignore_mx_lookup_error) return LookUpDomainAsHost();
      return Fail(StatusOf(answer.result), dns::FailureText(answer.result, Type::kMx, name_));
    }
    std::vector<dns::MxRecord> mx = answer.mx;
    // RFC 7505 has it alone; beside others Postfix believes it too.
    if (std::any_of(mx.begin(), mx.end(),
                    [](const dns::MxRecord& record) { return record.exchange.empty(); })) {
      return Fail("5.1.0", Concat("Domain ", name_, " does not accept mail (nullMX)"));
    }
    std::stable_sort(mx.begin(), mx.end(), [](const dns::MxRecord& a, const dns::MxRecord& b) {
      return a.preference < b.preference;
    });
    std::vector<Host> hosts;
    for (const dns::MxRecord& record : mx) {
      hosts.push_back({.name = record.exchange, .preference = record.preference, .port = port_});
    }
    by_ = Type::kMx;
    LookUpHosts(std::move(hosts));
  }

  void LookUpService() {
    service_name_ = Concat("_", service_, "._tcp.", name_);
    may_do_without_service_ = options_.allow_srv_fallback;
    by_ = Type::kSrv;
    world_.resolver->Lookup(
        Type::kSrv, service_name_,
        [self = shared_from_this()](const dns::Answer& answer) { self->OnSrv(answer); });
  }

  void OnSrv(const dns::Answer& answer) {
    if (!answer.found()) {
      if (!answer.absent() && options_.ignore_srv_lookup_error) may_do_without_service_ = true;
      return Fail(StatusOf(answer.result),
                  dns::FailureText(answer.result, Type::kSrv, service_name_));
    }
    if (answer.srv.size() == 1 && answer.srv.front().target.empty()) {
      return Fail("5.1.0", Concat("Service ", service_name_, " is not available at this domain"));
    }
    std::vector<ServiceTarget> targets;
    for (const dns::SrvRecord& record : answer.srv) {
      if (record.target.empty()) continue;
      targets.push_back({.priority = record.priority,
                         .weight = record.weight,
                         .port = record.port,
                         .host = record.target});
    }
    OrderServiceTargets(&targets, world_.random);
    std::vector<Host> hosts;
    for (ServiceTarget& target : targets) {
      hosts.push_back(
          {.name = std::move(target.host), .preference = target.priority, .port = target.port});
    }
    LookUpHosts(std::move(hosts));
  }

  void DoWithoutService(std::string_view why) {
    maillog::Info(options_.program, "skipping SRV lookup for ", service_name_, ": ", why);
    may_do_without_service_ = false;
    by_.reset();
    kept_type_ = Type::kMx;
    hosts_ = {.detect_loop = hosts_.detect_loop};
    LookUpDomain();
  }

  // All at once: their number is bounded.
  void LookUpHosts(std::vector<Host> hosts) {
    const Type asked = by_.value_or(Type::kMx);
    if (hosts.empty()) {
      return Fail(StatusOf(Result::kMalformed), dns::FailureText(Result::kMalformed, asked, name_));
    }
    if (hosts.size() > kMxHostsMax) hosts.resize(kMxHostsMax);
    hosts_found_ = std::move(hosts);
    best_preference_ = hosts_found_.front().preference;
    open_hosts_ = hosts_found_.size();
    for (size_t i = 0; i < hosts_found_.size(); ++i) {
      LookUpHost(i, /*native=*/!options_.look_up_dns);
    }
  }

  void LookUpHost(size_t number, bool native) {
    Host& host = hosts_found_[number];
    std::error_code not_numeric;
    const asio::ip::address address = asio::ip::make_address(host.name, not_numeric);
    if (!not_numeric && !IsUsed(address)) {
      KeepFailure(Type::kA, host, Result::kBadName);
      if (--open_hosts_ == 0) OnAllAddresses();
      return;
    }
    if (!not_numeric) {
      host.addresses.push_back({.host = host.name,
                                .address = address,
                                .preference = host.preference,
                                .port = host.port});
      if (--open_hosts_ == 0) OnAllAddresses();
      return;
    }
    host.asked_native = native;
    host.open = size_t{options_.use_ipv4} + size_t{options_.use_ipv6};
    dns::Resolver* const resolver = native ? world_.native_resolver : world_.resolver;
    for (const Type type : {Type::kA, Type::kAaaa}) {
      if (!(type == Type::kA ? options_.use_ipv4 : options_.use_ipv6)) continue;
      resolver->Lookup(type, host.name,
                       [self = shared_from_this(), type, number](const dns::Answer& answer) {
                         self->OnAddresses(type, number, answer);
                       });
    }
  }

  void OnAddresses(Type type, size_t number, const dns::Answer& answer) {
    Host& host = hosts_found_[number];
    const bool renamed = options_.cname_names_server && !answer.canonical.empty();
    for (const asio::ip::address& address : answer.addresses) {
      host.addresses.push_back({.host = renamed ? answer.canonical : host.name,
                                .address = address,
                                .preference = host.preference,
                                .port = host.port});
    }
    if (!answer.found()) KeepFailure(type, host, answer.result);
    if (--host.open != 0) return;
    if (host.addresses.empty() && !host.asked_native && options_.look_up_native) {
      return LookUpHost(number, /*native=*/true);
    }
    if (--open_hosts_ == 0) OnAllAddresses();
  }

  void KeepFailure(Type type, const Host& host, Result result) {
    // A failure that may pass is not forgotten for one that will not.
    if (!hosts_.status.empty() && hosts_.status[0] == '4' && StatusOf(result)[0] == '5') return;
    // Postfix asks for AAAA last, so that is what it names, whichever answer came last here.
    if (hosts_.status == StatusOf(result) && kept_type_ == Type::kAaaa && type == Type::kA) return;
    kept_type_ = type;
    hosts_.status = StatusOf(result);
    hosts_.text = host.asked_native ? NativeFailureText(result, host.name)
                                    : dns::FailureText(result, type, host.name);
  }

  // What a loop is told of.
  const std::string& asked_name() const { return by_ == Type::kSrv ? service_name_ : name_; }

  // Answers come in any order; what is random is only what `random` says.
  void OnAllAddresses() {
    for (Host& host : hosts_found_) {
      std::sort(host.addresses.begin(), host.addresses.end(),
                [](const Candidate& a, const Candidate& b) { return a.address < b.address; });
      for (Candidate& candidate : host.addresses) {
        hosts_.candidates.push_back(std::move(candidate));
      }
    }
    if (hosts_.candidates.empty()) return NoAddress();
    if (by_ != Type::kSrv) {
      std::stable_sort(hosts_.candidates.begin(), hosts_.candidates.end(),
                       [](const Candidate& a, const Candidate& b) {
                         return std::tie(a.preference, a.host, a.address) <
                                std::tie(b.preference, b.host, b.address);
                       });
    }
    Finish();
  }

  void Finish() {
    const size_t all = hosts_.candidates.size();
    const Loop loop = hosts_.detect_loop
                          ? RemoveSelf(&hosts_.candidates, options_.own_addresses, best_preference_)
                          : Loop::kNone;
    hosts_.found_self = hosts_.candidates.size() != all;
    if (loop == Loop::kToMyself) {
      return Fail("5.4.6", Concat("mail for ", asked_name(), " loops back to myself"));
    }
    if (loop == Loop::kNoPrimary) {
      return Fail("4.4.4", Concat("unable to find primary relay for ", asked_name()));
    }
    OrderOptions order = options_.order;
    if (by_ == Type::kSrv) {
      order.randomize = false;
      order.prefer = OrderOptions::Prefer::kAny;
    }
    OrderCandidates(&hosts_.candidates, order, world_.random);
    done_(std::move(hosts_));
  }

  void NoAddress() {
    if (by_) {
      maillog::Warning(options_.program, "no ", dns::TypeName(*by_), " host for ", asked_name(),
                       " has a valid address record");
      if (by_ == Type::kMx && options_.defer_if_no_mx_address_found) hosts_.status[0] = '4';
    }
    if (hosts_.status.empty()) {
      return Fail("4.3.0", "server unavailable or unable to receive mail");
    }
    Fail(hosts_.status, hosts_.text);
  }

  void Fail(std::string status, std::string text) {
    if (may_do_without_service_) return DoWithoutService(text);
    hosts_.candidates.clear();
    hosts_.status = std::move(status);
    hosts_.text = std::move(text);
    done_(std::move(hosts_));
  }

  const SmtpOptions& options_;
  const SmtpWorld& world_;
  const std::function<void(Hosts)> done_;
  std::string name_;
  std::string service_;
  std::string service_name_;  // "_smtp._tcp.example.com"
  uint16_t port_ = 0;
  std::optional<Type> by_;  // kMx, kSrv: such records led to the hosts
  bool may_do_without_service_ = false;
  std::vector<Host> hosts_found_;
  uint16_t best_preference_ = 0;
  size_t open_hosts_ = 0;
  Type kept_type_ = Type::kMx;
  Hosts hosts_;
};

}  // namespace

void FindHosts(const std::string& destination, const SmtpOptions& options, const SmtpWorld& world,
               std::function<void(Hosts)> done) {
  std::make_shared<Search>(options, world, std::move(done))->Start(destination);
}

}  // namespace postfleet::delivery::smtp
