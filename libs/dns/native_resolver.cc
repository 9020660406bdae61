#include "libs/dns/native_resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

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

// "192.0.2.1": the name, where it has one.
Answer NameOf(const std::string& text) {
  std::error_code error;
  const asio::ip::address address = asio::ip::make_address(text, error);
  if (error) return {.result = Result::kBadName};
  const asio::ip::tcp::endpoint endpoint(address, 0);
  char host[NI_MAXHOST];
  const int failure = getnameinfo(endpoint.data(), static_cast<socklen_t>(endpoint.size()), host,
                                  sizeof(host), nullptr, 0, NI_NAMEREQD);
  if (failure != 0) return {.result = ResultOf(failure)};
  std::string_view name(host);
  if (name.ends_with('.')) name.remove_suffix(1);
  if (!IsHostName(name)) return {.result = Result::kMalformed};
  return {.result = Result::kFound, .host = std::string(name)};
}

// Blocks.
Answer Ask(Type type, const std::string& name) {
  if (type == Type::kPtr) return NameOf(name);
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

}  // namespace

// What the threads share with the resolver, and have for longer.
struct NativeResolver::Work {
  struct Request {
    Type type;
    std::string name;
    Done done;
  };

  std::mutex mutex;
  // Under mutex.
  std::condition_variable some;
  std::deque<Request> requests;
  size_t threads = 0;
  size_t idle = 0;                  // threads that wait for a request
  NativeResolver* owner = nullptr;  // nullptr: gone

  void Run();
};

void NativeResolver::Work::Run() {
  std::unique_lock lock(mutex);
  while (true) {
    ++idle;
    some.wait(lock, [this] { return owner == nullptr || !requests.empty(); });
    --idle;
    if (owner == nullptr) return;
    Request request = std::move(requests.front());
    requests.pop_front();
    lock.unlock();
    Answer answer = Ask(request.type, request.name);
    lock.lock();
    if (owner != nullptr) owner->Give(std::move(request.done), std::move(answer));
  }
}

NativeResolver::NativeResolver(asio::io_context& io, size_t lookups_max)
    : io_(io), lookups_max_(lookups_max), work_(std::make_shared<Work>()) {
  work_->owner = this;
}

NativeResolver::~NativeResolver() {
  const std::lock_guard lock(work_->mutex);
  work_->owner = nullptr;
  work_->requests.clear();
  work_->some.notify_all();
}

void NativeResolver::Give(Done done, Answer answer) {
  asio::post(io_,
             [alive = std::weak_ptr(alive_), done = std::move(done), answer = std::move(answer)] {
               if (!alive.expired()) done(answer);
             });
}

void NativeResolver::Lookup(Type type, std::string_view name, Done done) {
  if (type != Type::kPtr && !IsHostName(name)) {
    return Give(std::move(done), {.result = Result::kBadName});
  }
  if (type != Type::kA && type != Type::kAaaa && type != Type::kPtr) {
    return Give(std::move(done), {.result = Result::kNoData});
  }
  const std::lock_guard lock(work_->mutex);
  if (work_->requests.size() >= lookups_max_) {
    return Give(std::move(done), {.result = Result::kTemporary});
  }
  work_->requests.push_back({type, std::string(name), std::move(done)});
  if (work_->idle < work_->requests.size() && work_->threads < kThreadsMax) {
    ++work_->threads;
    std::thread([work = work_] { work->Run(); }).detach();
  }
  work_->some.notify_one();
}

}  // namespace postfleet::dns
