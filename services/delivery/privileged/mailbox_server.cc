#include "services/delivery/privileged/mailbox_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

namespace postfleet::delivery::privileged {

SocketReader::SocketReader(int fd) : fd_(fd), buffer_(new char[kBufferBytes]) {}

std::string_view SocketReader::ReadSome(size_t bytes_max) {
  if (begin_ == end_) {
    ssize_t got;
    do {
      got = recv(fd_, buffer_.get(), kBufferBytes, 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) return {};
    begin_ = 0;
    end_ = static_cast<size_t>(got);
  }
  const size_t size = std::min(bytes_max, end_ - begin_);
  const std::string_view bytes(buffer_.get() + begin_, size);
  begin_ += size;
  return bytes;
}

bool SocketReader::Read(size_t bytes, std::string* out) {
  out->clear();
  while (out->size() < bytes) {
    const std::string_view some = ReadSome(bytes - out->size());
    if (some.empty()) return false;
    out->append(some);
  }
  return true;
}

// One target's part of a request.
struct MailboxServer::Delivery {
  const Target* target = nullptr;
  std::optional<Maildir> maildir;  // empty: refused or failed
  TargetResult result;
};

MailboxServer::MailboxServer(System& system, DirectorySyncs& syncs, uid_t minimum_uid, int fd)
    : system_(system), syncs_(syncs), identity_(system, minimum_uid), fd_(fd), reader_(fd) {}

void MailboxServer::Serve() {
  for (;;) {
    Request request;
    if (!ReadRequest(&request)) return;
    std::vector<Delivery> deliveries(request.targets.size());
    Open(request, &deliveries);
    const Content content = ReadContent(request, &deliveries);
    End(content, &deliveries);
    identity_.Return();
    if (content == Content::kLost || !Answer(deliveries)) return;
  }
}

bool MailboxServer::ReadRequest(Request* request) {
  std::string bytes;
  uint32_t length = 0;
  return reader_.Read(kPrefixBytes, &bytes) &&
         DecodePrefix(bytes, kRequestMagic, kRequestBytesMax, &length) &&
         reader_.Read(length, &bytes) && DecodeRequest(bytes, request);
}

template <typename Step>
void MailboxServer::AsUser(Delivery& delivery, Step step) {
  if (!delivery.maildir) return;
  if (!identity_.Become(delivery.target->uid, delivery.target->gid)) {
    // Without the user's rights not even tmp/ is cleaned: as root it would be done in a folder that
    // the user may have replaced.
    delivery.result = {Code::kFailed, errno,
                       std::string("cannot act as the user: ") + strerror(errno)};
    delivery.maildir.reset();
    return;
  }
  if (step(*delivery.maildir)) return;
  delivery.result = delivery.maildir->error();
  delivery.maildir->Abandon();
  delivery.maildir.reset();
}

void MailboxServer::Open(const Request& request, std::vector<Delivery>* deliveries) {
  const std::string refusal = CheckRequest(request);
  for (size_t i = 0; i < deliveries->size(); ++i) {
    Delivery& delivery = (*deliveries)[i];
    delivery.target = &request.targets[i];
    std::vector<std::string> components;
    std::string why = refusal;
    if (why.empty()) why = identity_.Refusal(delivery.target->uid, delivery.target->gid);
    if (why.empty()) why = CheckPath(delivery.target->path, &components);
    if (!why.empty()) {
      delivery.result = {Code::kRefused, 0, why};
      continue;
    }
    delivery.maildir.emplace(system_, syncs_, request, *delivery.target, std::move(components));
    AsUser(delivery, [](Maildir& maildir) { return maildir.Create(); });
  }
}

MailboxServer::Content MailboxServer::ReadContent(const Request& request,
                                                  std::vector<Delivery>* deliveries) {
  uint64_t left = request.content_bytes;
  for (;;) {
    std::string prefix;
    if (!reader_.Read(sizeof(uint32_t), &prefix)) return Content::kLost;
    uint32_t piece = DecodePieceLength(prefix);
    if (piece == kContentEnd) return left == 0 ? Content::kComplete : Content::kLost;
    if (piece == kContentAbandoned) return Content::kAbandoned;
    if (piece > kPieceBytesMax || piece > left) return Content::kLost;
    left -= piece;
    while (piece > 0) {
      const std::string_view bytes = reader_.ReadSome(piece);
      if (bytes.empty()) return Content::kLost;
      piece -= static_cast<uint32_t>(bytes.size());
      for (Delivery& delivery : *deliveries) {
        AsUser(delivery, [bytes](Maildir& maildir) { return maildir.Write(bytes); });
      }
    }
  }
}

void MailboxServer::End(Content content, std::vector<Delivery>* deliveries) {
  for (Delivery& delivery : *deliveries) {
    AsUser(delivery, [content](Maildir& maildir) {
      if (content == Content::kComplete) return maildir.Commit();
      maildir.Abandon();
      return true;
    });
    if (!delivery.maildir) continue;
    delivery.result.code = content == Content::kComplete ? Code::kDelivered : Code::kAbandoned;
    delivery.maildir.reset();
  }
}

bool MailboxServer::Answer(const std::vector<Delivery>& deliveries) {
  std::vector<TargetResult> results;
  results.reserve(deliveries.size());
  for (const Delivery& delivery : deliveries) results.push_back(delivery.result);
  const std::string answer = EncodeAnswer(results);
  for (size_t sent = 0; sent < answer.size();) {
    const ssize_t more = send(fd_, answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return false;
    sent += static_cast<size_t>(more);
  }
  return true;
}

}  // namespace postfleet::delivery::privileged
