#include "services/delivery/core/shared_contents.h"

#include <utility>

#include "absl/status/status.h"

namespace postfleet::delivery {

struct SharedContents::Source {
  std::unique_ptr<ContentReader> contents;
  bool is_fresh = true;      // nothing was read
  uint64_t last_reader = 0;  // the others have lost it
};

class SharedContents::Reader : public ContentReader {
 public:
  Reader(std::shared_ptr<Source> source, uint64_t number)
      : source_(std::move(source)), number_(number) {}

  void Next(Done done) override {
    if (source_->last_reader != number_ || source_->contents == nullptr) {
      return done(absl::AbortedError("the contents are read by another"), {});
    }
    if (!begun_ && !source_->is_fresh && !source_->contents->Restart()) {
      return done(absl::UnavailableError("the contents cannot be read again"), {});
    }
    begun_ = true;
    source_->is_fresh = false;
    source_->contents->Next([alive = std::weak_ptr(alive_), done = std::move(done)](
                                const absl::Status& status, rpc::Payload payload) {
      if (!alive.expired()) done(status, std::move(payload));
    });
  }

  bool Restart() override {
    alive_ = std::make_shared<char>();
    begun_ = false;
    return source_->last_reader == number_;
  }

 private:
  const std::shared_ptr<Source> source_;
  const uint64_t number_;
  bool begun_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

SharedContents::SharedContents(std::unique_ptr<ContentReader> contents)
    : source_(std::make_shared<Source>()) {
  source_->contents = std::move(contents);
}

std::unique_ptr<ContentReader> SharedContents::Open() {
  return std::make_unique<Reader>(source_, ++source_->last_reader);
}

std::unique_ptr<ContentReader> SharedContents::Release() {
  std::unique_ptr<ContentReader> contents = std::move(source_->contents);
  if (contents != nullptr && !source_->is_fresh) contents->Restart();
  return contents;
}

}  // namespace postfleet::delivery
