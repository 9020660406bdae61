#include "libs/dns/late_resolver.h"

#include <asio/post.hpp>
#include <utility>

#include "libs/base/maillog.h"

namespace postfleet::dns {

bool LateResolver::IsMade() {
  if (made_ != nullptr) return true;
  const auto now = clock_.Monotonic();
  if (failed_at_ && now - *failed_at_ < kRetry) return false;
  absl::StatusOr<std::unique_ptr<Resolver>> made = make_();
  if (made.ok()) {
    if (failed_at_) maillog::Info(program_, "DNS: names can be looked up now");
    made_ = *std::move(made);
    return true;
  }
  if (!failed_at_) {
    maillog::Warning(program_, "DNS: ", std::string(made.status().message()),
                     "; only numeric addresses can be reached until that is mended");
  }
  failed_at_ = now;
  return false;
}

void LateResolver::Lookup(Type type, std::string_view name, Done done) {
  if (IsMade()) return made_->Lookup(type, name, std::move(done));
  asio::post(io_, [alive = std::weak_ptr(alive_), done = std::move(done)] {
    if (!alive.expired()) done({.result = Result::kTemporary});
  });
}

}  // namespace postfleet::dns
