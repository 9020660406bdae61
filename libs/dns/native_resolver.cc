#include "libs/dns/native_resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/post.hpp>
#include <utility>

namespace postfleet::dns {
namespace {

asio::ip::address AddressOf(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return asio::ip::address_v4(ntohl(v4.sin_addr.s_addr));
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  asio::ip::address_v6::bytes_type bytes;
  std::copy(std::begin(v6.sin6_addr.s6_addr), std::end(v6.sin6_addr.s6_addr), bytes.begin());
  return asio::ip::address_v6(bytes, v6.sin6_scope_id);
}

Result ResultOf(int error) {
  switch (error) {
    case EAI_NONAME:
      return Result::kNoName;
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
      return Result::kNoData;
    default:
      return Result::kTemporary;
  }
}

}  // namespace

NativeResolver::NativeResolver(asio::io_context& io, size_t lookups_max)
    : io_(io), lookups_max_(lookups_max) {}

NativeResolver::~NativeResolver() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  some_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Answer NativeResolver::Ask(Type type, const std::string& name) {
  addrinfo hints{};
  hints.ai_family = type == Type::kA ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found);
  if (error != 0) return {.result = ResultOf(error)};
  Answer answer{.result = Result::kFound};
  for (const addrinfo* at = found; at != nullptr && answer.addresses.size() < kRecordsMax;
       at = at->ai_next) {
    answer.addresses.push_back(AddressOf(*at->ai_addr));
  }
  freeaddrinfo(found);
  return answer;
}

void NativeResolver::Give(Done done, Answer answer) {
  asio::post(io_,
             [alive = std::weak_ptr(alive_), done = std::move(done), answer = std::move(answer)] {
               if (!alive.expired()) done(answer);
             });
}

void NativeResolver::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    some_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
    if (stopping_) return;
    Request request = std::move(requests_.front());
    requests_.pop_front();
    lock.unlock();
    Give(std::move(request.done), Ask(request.type, request.name));
    lock.lock();
  }
}

void NativeResolver::Lookup(Type type, std::string_view name, Done done) {
  if (!IsHostName(name)) return Give(std::move(done), {.result = Result::kBadName});
  if (type != Type::kA && type != Type::kAaaa) {
    return Give(std::move(done), {.result = Result::kNoData});
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { Work(); });
  {
    const std::lock_guard lock(mutex_);
    if (requests_.size() < lookups_max_) {
      requests_.push_back({type, std::string(name), std::move(done)});
      done = nullptr;
    }
  }
  if (done) return Give(std::move(done), {.result = Result::kTemporary});
  some_.notify_one();
}

}  // namespace postfleet::dns
