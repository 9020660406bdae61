// What is said when Ctrl-C ends a command whose work goes on elsewhere.
//
// While an object lives and has a text, SIGINT writes it to standard error and then ends the
// process as it would have. An ignored SIGINT (nohup) stays ignored. One object at a time.
#pragma once

#include <csignal>
#include <string>

namespace postfleet::commands {

class InterruptNotice {
 public:
  InterruptNotice();
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;
  ~InterruptNotice();

  // A line. The first one stays.
  void Set(std::string text);

 private:
  std::string text_;
  struct sigaction before_ = {};
};

}  // namespace postfleet::commands
