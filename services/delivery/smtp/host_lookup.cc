#include "services/delivery/smtp/host_lookup.h"

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

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

class Search : public std::enable_shared_from_this<Search> {
 public:
  Search(const SmtpOptions& options, const SmtpWorld& world, std::function<void(Hosts)> done)
      : options_(options), world_(world), done_(std::move(done)) {}

  void Start(const std::string& text) {
    const auto nexthop = ParseNexthop(text, options_.port);
    if (!nexthop.ok()) {
      return Fail(StatusOf(Result::kBadName), dns::FailureText(Result::kBadName, Type::kMx, text));
    }
    name_ = nexthop->host;
    hosts_.port = nexthop->port;
    detect_loop_ = nexthop->port == options_.port;
    if (nexthop->is_address) {
      hosts_.candidates.push_back({.host = name_, .address = asio::ip::make_address(name_)});
      return Finish();
    }
    if (nexthop->literal_host) return LookUpHosts({{.preference = 0, .exchange = name_}});
    world_.resolver->Lookup(
        Type::kMx, name_,
        [self = shared_from_this()](const dns::Answer& answer) { self->OnMx(answer); });
  }

 private:
  void OnMx(const dns::Answer& answer) {
    if (answer.absent()) return LookUpHosts({{.preference = 0, .exchange = name_}});
    if (!answer.found()) {
      if (options_.ignore_mx_lookup_error) {
        return LookUpHosts({{.preference = 0, .exchange = name_}});
      }
      return Fail(StatusOf(answer.result), dns::FailureText(answer.result, Type::kMx, name_));
    }
    std::vector<dns::MxRecord> mx = answer.mx;
    if (mx.size() == 1 && mx.front().exchange.empty()) {
      return Fail("5.1.0", Concat("Domain ", name_, " does not accept mail (nullMX)"));
    }
    std::erase_if(mx, [](const dns::MxRecord& record) { return record.exchange.empty(); });
    std::stable_sort(mx.begin(), mx.end(), [](const dns::MxRecord& a, const dns::MxRecord& b) {
      return a.preference < b.preference;
    });
    if (mx.size() > kMxHostsMax) mx.resize(kMxHostsMax);
    by_mx_ = true;
    LookUpHosts(std::move(mx));
  }

  // All at once: their number is bounded.
  void LookUpHosts(std::vector<dns::MxRecord> hosts) {
    if (hosts.empty()) {
      return Fail(StatusOf(Result::kMalformed),
                  dns::FailureText(Result::kMalformed, Type::kMx, name_));
    }
    best_preference_ = hosts.front().preference;
    open_ = hosts.size() * (options_.use_ipv4 + options_.use_ipv6);
    for (const dns::MxRecord& host : hosts) {
      if (options_.use_ipv4) LookUp(Type::kA, host);
      if (options_.use_ipv6) LookUp(Type::kAaaa, host);
    }
  }

  void LookUp(Type type, const dns::MxRecord& host) {
    world_.resolver->Lookup(type, host.exchange,
                            [self = shared_from_this(), type, host](const dns::Answer& answer) {
                              self->OnAddresses(type, host, answer);
                            });
  }

  void OnAddresses(Type type, const dns::MxRecord& host, const dns::Answer& answer) {
    for (const asio::ip::address& address : answer.addresses) {
      hosts_.candidates.push_back(
          {.host = host.exchange, .address = address, .preference = host.preference});
    }
    if (!answer.found()) KeepFailure(type, host.exchange, answer.result);
    if (--open_ == 0) Finish();
  }

  void KeepFailure(Type type, const std::string& host, Result result) {
    // A failure that may pass is not forgotten for one that will not.
    if (!hosts_.status.empty() && hosts_.status[0] == '4' && StatusOf(result)[0] == '5') return;
    // Postfix asks for AAAA last, so that is what it names, whichever answer came last here.
    if (hosts_.status == StatusOf(result) && kept_type_ == Type::kAaaa && type == Type::kA) return;
    kept_type_ = type;
    hosts_.status = StatusOf(result);
    hosts_.text = dns::FailureText(result, type, host);
  }

  void Finish() {
    if (hosts_.candidates.empty()) return NoAddress();
    // Answers come in any order; what is random is only what `random` says.
    std::stable_sort(hosts_.candidates.begin(), hosts_.candidates.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return std::tie(a.preference, a.host, a.address) <
                              std::tie(b.preference, b.host, b.address);
                     });
    const Loop loop = detect_loop_
                          ? RemoveSelf(&hosts_.candidates, options_.own_addresses, best_preference_)
                          : Loop::kNone;
    if (loop == Loop::kToMyself)
      return Fail("5.4.6", Concat("mail for ", name_, " loops back to myself"));
    if (loop == Loop::kNoPrimary) {
      return Fail("4.4.4", Concat("unable to find primary relay for ", name_));
    }
    OrderCandidates(&hosts_.candidates, options_.order, world_.random);
    done_(std::move(hosts_));
  }

  void NoAddress() {
    if (by_mx_) {
      maillog::Warning(options_.program, "no MX host for ", name_, " has a valid address record");
      if (options_.defer_if_no_mx_address_found) hosts_.status[0] = '4';
    }
    if (hosts_.status.empty()) {
      return Fail("4.3.0", "server unavailable or unable to receive mail");
    }
    done_(std::move(hosts_));
  }

  void Fail(std::string status, std::string text) {
    hosts_.candidates.clear();
    hosts_.status = std::move(status);
    hosts_.text = std::move(text);
    done_(std::move(hosts_));
  }

  const SmtpOptions& options_;
  const SmtpWorld& world_;
  const std::function<void(Hosts)> done_;
  std::string name_;
  bool detect_loop_ = false;
  bool by_mx_ = false;
  uint16_t best_preference_ = 0;
  size_t open_ = 0;
  Type kept_type_ = Type::kMx;
  Hosts hosts_;
};

}  // namespace

void FindHosts(const std::string& nexthop, const SmtpOptions& options, const SmtpWorld& world,
               std::function<void(Hosts)> done) {
  std::make_shared<Search>(options, world, std::move(done))->Start(nexthop);
}

}  // namespace postfleet::delivery::smtp
