#include "services/ingress/pickup/maildrop_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

namespace postfleet::ingress {

MaildropWatch::MaildropWatch(runtime::EventLoop& loop, const std::string& folder,
                             std::function<void()> changed)
    : changed_(std::move(changed)), events_(loop.io()) {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return;
  if (inotify_add_watch(fd, folder.c_str(), IN_ATTRIB | IN_MOVED_TO | IN_ONLYDIR) < 0) {
    close(fd);
    return;
  }
  events_.assign(fd);
  Arm();
}

MaildropWatch::~MaildropWatch() = default;

void MaildropWatch::Arm() {
  events_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this, alive = std::weak_ptr<char>(alive_)](const std::error_code& error) {
                       if (error || alive.expired()) return;
                       char bytes[4096];
                       while (read(events_.native_handle(), bytes, sizeof(bytes)) > 0) {
                       }
                       Arm();
                       changed_();
                     });
}

}  // namespace postfleet::ingress
