#include "libs/dns/unbound_resolver.h"

#include <unbound.h>

#include <algorithm>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "libs/base/concat.h"
#include "libs/dns/records.h"

namespace postfleet::dns {
namespace {

constexpr int kClassIn = 1;
constexpr int kRcodeNoError = 0;
constexpr int kRcodeNxdomain = 3;

int TypeNumber(Type type) {
  switch (type) {
    case Type::kMx:
      return 15;
    case Type::kA:
      return 1;
    case Type::kAaaa:
      return 28;
    case Type::kSrv:
      return 33;
    case Type::kPtr:
      return 12;
  }
  return 0;
}

// In lower case, without the final dot; empty: no host name.
std::string CanonicalName(std::string_view name) {
  if (!IsHostName(name)) return {};
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

Answer AnswerOf(Type type, const ub_result& result) {
  if (result.bogus) return {.result = Result::kTemporary};
  if (result.nxdomain || result.rcode == kRcodeNxdomain) return {.result = Result::kNoName};
  if (result.rcode != kRcodeNoError) return {.result = Result::kTemporary};
  if (!result.havedata) return {.result = Result::kNoData};
  std::vector<std::string_view> rdata;
  for (size_t i = 0; i < kRecordsMax && result.data[i] != nullptr; ++i) {
    rdata.emplace_back(result.data[i], static_cast<size_t>(result.len[i]));
  }
  Answer answer = ParseRecords(type, rdata);
  if (answer.found()) answer.ttl_s = static_cast<uint32_t>(std::max(result.ttl, 0));
  if (result.canonname != nullptr) answer.canonical = CanonicalName(result.canonname);
  return answer;
}

// What the library is told besides the name servers: no log of its own, no DNSSEC yet, servers on
// loopback may be asked.
constexpr std::pair<const char*, const char*> kSettings[] = {
    {"use-syslog:", "no"},          {"verbosity:", "0"},
    {"module-config:", "iterator"}, {"do-not-query-localhost:", "no"},
    {"msg-cache-size:", "4m"},      {"rrset-cache-size:", "8m"},
};

// Zones that the library answers by itself, though the site's name servers may know them. It keeps
// localhost, invalid and onion (RFC 6761, 7686).
constexpr const char* kZonesToAsk[] = {"test.", "home.arpa."};

}  // namespace

class UnboundResolver::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, const UnboundOptions& options)
      : options_(options), io_(io), descriptor_(io), timer_(io) {}

  ~Impl() {
    // The descriptor is the library's.
    if (descriptor_.is_open()) descriptor_.release();
    if (context_ != nullptr) ub_ctx_delete(context_);
  }

  absl::Status Open();
  void Lookup(Type type, std::string_view name, Done done);
  // No callback comes any more.
  void Shut() {
    lookups_.clear();
    timer_.cancel();
    if (descriptor_.is_open()) descriptor_.release();
  }

 private:
  struct Pending {
    Type type;
    Done done;
    std::chrono::steady_clock::time_point deadline;
  };
  // What the library gives back: a number, since the lookup may have timed out meanwhile.
  struct Handle {
    Impl* impl;
    uint64_t number;
  };

  static void OnResult(void* data, int error, ub_result* result);
  void Wait();
  void WatchTime();
  void Answered(uint64_t number, Answer answer);
  void Refuse(Result result, Done done) {
    asio::post(io_, [self = weak_from_this(), result, done = std::move(done)] {
      if (!self.expired()) done({.result = result});
    });
  }

  const UnboundOptions options_;
  asio::io_context& io_;
  ub_ctx* context_ = nullptr;
  asio::posix::stream_descriptor descriptor_;
  asio::steady_timer timer_;
  bool timer_set_ = false;
  bool waiting_ = false;
  // All have the same time limit: the numbers are in the order of their deadlines.
  std::map<uint64_t, Pending> lookups_;
  // What the library still has; it may outlive the lookup.
  std::map<uint64_t, Handle> handles_;
  uint64_t next_number_ = 1;
};

absl::Status UnboundResolver::Impl::Open() {
  context_ = ub_ctx_create();
  if (context_ == nullptr) return absl::ResourceExhaustedError("libunbound: no context");
  const auto check = [](int error, std::string_view what) {
    if (error == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(Concat("libunbound: ", what, ": ", ub_strerror(error)));
  };
  for (const auto& [name, value] : kSettings) {
    if (auto status = check(ub_ctx_set_option(context_, name, value), name); !status.ok()) {
      return status;
    }
  }
  // Answers on a thread of the library, not in a forked process.
  if (auto status = check(ub_ctx_async(context_, 1), "async"); !status.ok()) return status;
  for (const std::string& server : options_.name_servers) {
    auto status = check(ub_ctx_set_fwd(context_, server.c_str()), server);
    if (!status.ok()) return status;
  }
  if (options_.name_servers.empty()) {
    auto status =
        check(ub_ctx_resolvconf(context_, options_.resolv_conf.c_str()), options_.resolv_conf);
    if (!status.ok()) return status;
  }
  if (!options_.hosts_file.empty()) {
    auto status = check(ub_ctx_hosts(context_, options_.hosts_file.c_str()), options_.hosts_file);
    if (!status.ok()) return status;
  }
  for (const char* zone : kZonesToAsk) {
    if (auto status = check(ub_ctx_zone_remove(context_, zone), zone); !status.ok()) return status;
  }
  const int fd = ub_fd(context_);
  if (fd < 0) return absl::InternalError("libunbound: no descriptor");
  descriptor_.assign(fd);
  return absl::OkStatus();
}

void UnboundResolver::Impl::Lookup(Type type, std::string_view name, Done done) {
  if (!IsHostName(name)) return Refuse(Result::kBadName, std::move(done));
  if (handles_.size() >= options_.lookups_max) {
    return Refuse(Result::kTemporary, std::move(done));
  }
  const uint64_t number = next_number_++;
  Handle* const handle = &handles_.emplace(number, Handle{this, number}).first->second;
  const int error = ub_resolve_async(context_, std::string(name).c_str(), TypeNumber(type),
                                     kClassIn, handle, &OnResult, nullptr);
  if (error != 0) {
    handles_.erase(number);
    return Refuse(Result::kTemporary, std::move(done));
  }
  lookups_[number] = {.type = type,
                      .done = std::move(done),
                      .deadline = std::chrono::steady_clock::now() + options_.timeout};
  if (!waiting_) Wait();
  if (!timer_set_) WatchTime();
}

// Only while lookups are open: an idle resolver does not hold the loop.
void UnboundResolver::Impl::Wait() {
  waiting_ = true;
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [weak = weak_from_this()](const std::error_code& error) {
                           const auto self = weak.lock();
                           if (error || self == nullptr) return;
                           self->waiting_ = false;
                           ub_process(self->context_);
                           if (!self->lookups_.empty() && !self->waiting_) self->Wait();
                         });
}

void UnboundResolver::Impl::WatchTime() {
  if (lookups_.empty()) return;
  timer_set_ = true;
  timer_.expires_at(lookups_.begin()->second.deadline);
  timer_.async_wait([weak = weak_from_this()](const std::error_code& error) {
    const auto self = weak.lock();
    if (error || self == nullptr) return;
    self->timer_set_ = false;
    const auto now = std::chrono::steady_clock::now();
    while (!self->lookups_.empty() && self->lookups_.begin()->second.deadline <= now) {
      // The library still answers into its handle, for its cache's sake.
      self->Answered(self->lookups_.begin()->first, {.result = Result::kTemporary});
    }
    if (!self->timer_set_) self->WatchTime();
  });
}

void UnboundResolver::Impl::OnResult(void* data, int error, ub_result* result) {
  const auto [impl, number] = *static_cast<Handle*>(data);
  impl->handles_.erase(number);
  const auto found = impl->lookups_.find(number);
  Answer answer;
  if (error == 0 && found != impl->lookups_.end()) answer = AnswerOf(found->second.type, *result);
  ub_resolve_free(result);
  impl->Answered(number, std::move(answer));
}

void UnboundResolver::Impl::Answered(uint64_t number, Answer answer) {
  const auto found = lookups_.find(number);
  if (found == lookups_.end()) return;
  const Done done = std::move(found->second.done);
  lookups_.erase(found);
  done(std::move(answer));
}

UnboundResolver::UnboundResolver(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

UnboundResolver::~UnboundResolver() { impl_->Shut(); }

absl::StatusOr<std::unique_ptr<UnboundResolver>> UnboundResolver::Create(
    asio::io_context& io, const UnboundOptions& options) {
  auto impl = std::make_shared<Impl>(io, options);
  if (auto status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<UnboundResolver>(new UnboundResolver(std::move(impl)));
}

void UnboundResolver::Lookup(Type type, std::string_view name, Done done) {
  impl_->Lookup(type, name, std::move(done));
}

}  // namespace postfleet::dns
