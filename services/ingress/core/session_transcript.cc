#include "services/ingress/core/session_transcript.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/wrapped_text.h"
#include "libs/message/header.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kLineBytes = 78;

}  // namespace

absl::StatusOr<uint32_t> ErrorClassesOf(const std::vector<std::string>& names) {
  constexpr std::pair<std::string_view, ErrorClass> kNames[] = {
      {"bounce", kBounceError},     {"2bounce", kNoError},        {"data", kDataError},
      {"delay", kNoError},          {"policy", kPolicyError},     {"protocol", kProtocolError},
      {"resource", kResourceError}, {"software", kSoftwareError},
  };
  uint32_t classes = 0;
  for (const std::string& name : names) {
    const auto known = std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& row) {
      return message::EqualsIgnoreCase(name, row.first);
    });
    if (known == std::end(kNames)) {
      return absl::InvalidArgumentError(Concat("unknown notify_classes value \"", name, "\""));
    }
    classes |= known->second;
  }
  return classes;
}

void SessionTranscript::Sent(std::string_view reply) {
  if (classes_ == 0) return;
  while (!reply.empty()) {
    const size_t end = reply.find("\r\n");
    Keep("Out: ", reply.substr(0, end));
    if (end == reply.npos) return;
    reply.remove_prefix(end + 2);
  }
}

void SessionTranscript::Clear() { *this = SessionTranscript(classes_); }

void SessionTranscript::Keep(std::string_view direction, std::string_view line) {
  if (classes_ == 0) return;
  line = line.substr(0, kLineBytesMax);
  const size_t bytes = direction.size() + line.size() + 1;
  if (last_.empty() && first_bytes_ + bytes <= kFirstBytesMax) {
    ConcatTo(&first_, direction);
    for (const char c : line) first_.push_back(c == '\n' ? '?' : c);
    first_.push_back('\n');
    first_bytes_ += bytes;
    return;
  }
  last_.push_back(Concat(direction, line));
  last_bytes_ += bytes;
  while (last_bytes_ > kLastBytesMax) {
    last_bytes_ -= last_.front().size() + 1;
    last_.pop_front();
    ++left_out_;
  }
}

std::string SessionTranscript::Text() const {
  std::string text;
  const auto add = [&text](std::string_view line) {
    mail::AppendWrapped(mail::PrintableText(line, line.size()), kLineBytes, " ", &text);
  };
  for (std::string_view rest = first_; !rest.empty();) {
    const size_t end = rest.find('\n');
    add(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  if (left_out_ > 0) ConcatTo(&text, " (", left_out_, " lines are left out here)\n");
  for (const std::string& line : last_) add(line);
  return text;
}

std::string ComposeTranscriptNotice(const TranscriptNotice& notice,
                                    const SessionTranscript& transcript) {
  const std::string date = message::FormatMailDate(notice.time);
  std::string mail = message::FormatLocalReceived(notice.myhostname, notice.mail_name,
                                                  notice.queue_id, /*user_id=*/-1, notice.time);
  ConcatTo(&mail, "Date: ", date, "\nFrom: Mail Delivery System <", notice.from,
           ">\nTo: Postmaster <", notice.recipient, ">\nSubject: ", notice.mail_name,
           " SMTP server: errors from ", notice.client,
           "\nMessage-Id: ", message::FormatMessageId(notice.queue_id, notice.myhostname),
           "\n\nTranscript of session follows.\n\n", transcript.Text(), "\n");
  if (!notice.reason.empty()) ConcatTo(&mail, "Session aborted, reason: ", notice.reason, "\n");
  return Concat(mail, "\nFor other details, see the local mail logfile\n");
}

}  // namespace postfleet::ingress
