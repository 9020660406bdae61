// Tells when something changes in a folder (inotify(7)): a file that appears, or gets another mode.
// On the loop.
#pragma once

#include <asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>

#include "libs/runtime/event_loop.h"

namespace postfleet::ingress {

class MaildropWatch {
 public:
  // `changed` is called once for what came together. Without inotify it never is.
  MaildropWatch(runtime::EventLoop& loop, const std::string& folder, std::function<void()> changed);
  ~MaildropWatch();

 private:
  void Arm();

  std::function<void()> changed_;
  asio::posix::stream_descriptor events_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace postfleet::ingress
