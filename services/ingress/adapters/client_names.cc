#include "services/ingress/adapters/client_names.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

using dns::Result;

NameStatus StatusOf(Result result) {
  switch (result) {
    case Result::kFound:
      return NameStatus::kOk;
    case Result::kTemporary:
      return NameStatus::kTemporary;
    default:
      return NameStatus::kPermanent;
  }
}

// In the words of getaddrinfo, which Postfix logs.
std::string_view WordsOf(Result result) {
  switch (result) {
    case Result::kTemporary:
      return "Temporary failure in name resolution";
    case Result::kNoData:
      return "No address associated with hostname";
    default:
      return "Name or service not known";
  }
}

// Of an address that has a name, what the name's own addresses make of it.
ClientName Judge(const std::string& address, const std::string& host, const dns::Answer& answer) {
  ClientName found{.reverse_name = host, .reverse_status = NameStatus::kOk};
  const auto same = [&](const asio::ip::address& other) { return other.to_string() == address; };
  if (!answer.found()) {
    found.status = StatusOf(answer.result);
    found.warning = Concat("hostname ", host, " does not resolve to address ", address, ": ",
                           WordsOf(answer.result));
  } else if (std::none_of(answer.addresses.begin(), answer.addresses.end(), same)) {
    found.status = NameStatus::kForged;
    found.warning = Concat("hostname ", host, " does not resolve to address ", address);
  } else {
    found.name = host;
    found.status = NameStatus::kOk;
  }
  return found;
}

}  // namespace

void ClientNames::Find(const std::string& address, Done done) {
  const auto kept = kept_.find(address);
  if (kept != kept_.end() && clock_.Monotonic() < kept->second.until) {
    // A copy: what it calls may find other names.
    const ClientName name = kept->second.name;
    return done(name);
  }
  resolver_.Lookup(dns::Type::kPtr, address,
                   [this, alive = std::weak_ptr(alive_), address,
                    done = std::move(done)](const dns::Answer& answer) {
                     if (alive.expired()) return;
                     if (answer.found()) return CheckName(address, answer.host, done);
                     ClientName unknown{.status = StatusOf(answer.result),
                                        .reverse_status = StatusOf(answer.result)};
                     Keep(address, unknown);
                     done(unknown);
                   });
}

void ClientNames::CheckName(const std::string& address, const std::string& name, const Done& done) {
  const dns::Type type = address.find(':') == std::string::npos ? dns::Type::kA : dns::Type::kAaaa;
  resolver_.Lookup(
      type, name,
      [this, alive = std::weak_ptr(alive_), address, name, done](const dns::Answer& answer) {
        if (alive.expired()) return;
        const ClientName found = Judge(address, name, answer);
        Keep(address, found);
        done(found);
      });
}

void ClientNames::Keep(const std::string& address, const ClientName& name) {
  // All at once: which are the oldest is not worth keeping.
  if (kept_.size() >= kKeptMax) kept_.clear();
  const bool temporary =
      name.status == NameStatus::kTemporary || name.reverse_status == NameStatus::kTemporary;
  kept_[address] = {name, clock_.Monotonic() + (temporary ? kTemporaryKeptFor : kKeptFor)};
}

}  // namespace postfleet::ingress
