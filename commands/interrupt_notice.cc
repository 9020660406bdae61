#include "commands/interrupt_notice.h"

#include <unistd.h>

#include <atomic>
#include <utility>

namespace postfleet::commands {
namespace {

// Read by the handler.
std::atomic<const std::string*> notice = nullptr;

void OnInterrupt(int number) {
  if (const std::string* text = notice.load()) {
    static_cast<void>(!write(STDERR_FILENO, text->data(), text->size()));
  }
  // SA_RESETHAND: now it ends the process.
  raise(number);
}

}  // namespace

InterruptNotice::InterruptNotice() {
  sigaction(SIGINT, nullptr, &before_);
  if (before_.sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
}

InterruptNotice::~InterruptNotice() {
  notice = nullptr;
  sigaction(SIGINT, &before_, nullptr);
}

void InterruptNotice::Set(std::string text) {
  if (notice.load() == &text_) return;
  text_ = std::move(text);
  notice = &text_;
}

}  // namespace postfleet::commands
