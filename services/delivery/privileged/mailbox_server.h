// The helper's side of one connection: takes requests one after another, answers each, until the
// other end closes.
//
// A content is read once and written to all targets, each as its own user; memory is one buffer
// (kBufferBytes) and the request. A target that failed does not touch the others. Files stay open
// until the request ends: 2 for each target.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "services/delivery/privileged/directory_syncs.h"
#include "services/delivery/privileged/identity.h"
#include "services/delivery/privileged/maildir.h"
#include "services/delivery/privileged/protocol.h"
#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

// Blocking reads from a socket through one buffer.
class SocketReader {
 public:
  explicit SocketReader(int fd);
  // Exactly this many, or false at the end and after an error.
  bool Read(size_t bytes, std::string* out);
  // At least one byte, at most `bytes_max`; valid until the next call. Empty: the end.
  std::string_view ReadSome(size_t bytes_max);
  // ReadSome would not have to wait.
  bool HasBuffered() const { return begin_ < end_; }

 private:
  static constexpr size_t kBufferBytes = 128 << 10;
  const int fd_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

class MailboxServer {
 public:
  // `fd` is the caller's. Syncs are shared by all connections of a process.
  MailboxServer(System& system, DirectorySyncs& syncs, uid_t minimum_uid, int fd);

  // Returns when the other end closed, or broke the protocol.
  void Serve();

 private:
  enum class Content { kComplete, kAbandoned, kLost };
  struct Delivery;

  bool ReadRequest(Request* request);
  void Open(const Request& request, std::vector<Delivery>* deliveries);
  Content ReadContent(const Request& request, std::vector<Delivery>* deliveries);
  void End(Content content, std::vector<Delivery>* deliveries);
  bool Answer(const std::vector<Delivery>& deliveries);
  // Runs a step of a delivery as its user; false: it has failed.
  template <typename Step>
  void AsUser(Delivery& delivery, Step step);

  System& system_;
  DirectorySyncs& syncs_;
  Identity identity_;
  const int fd_;
  SocketReader reader_;
};

}  // namespace postfleet::delivery::privileged
