#include "libs/maildrop/submission.h"

#include <charconv>
#include <iterator>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::maildrop {
namespace {

constexpr uint32_t kProbe = 512;
constexpr uint32_t kTrace = 1024;
constexpr uint32_t kNotifyMax = 15;
constexpr uint32_t kReturnMax = 2;

constexpr std::string_view kAttributes[] = {"dsn_orig_rcpt", "encoding",  "envelope_id",
                                            "notify_flags",  "ret_flags", "rewrite_context",
                                            "trace_flags"};

absl::Status Bad(std::string text) { return absl::InvalidArgumentError(std::move(text)); }

absl::Status ReadNumber(std::string_view name, std::string_view text, uint32_t max,
                        uint32_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  if (error != std::errc() || end != text.data() + text.size() || *number > max) {
    return Bad(Concat("bad value of attribute ", name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RecordOrder::Accept(char type) {
  switch (part_) {
    case Part::kEnvelope:
      has_sender_ |= type == kSender;
      has_recipient_ |= type == kRecipient;
      if (std::string_view("TFSVAR").find(type) != std::string_view::npos) return absl::OkStatus();
      if (type == kContents && has_sender_) {
        part_ = Part::kContents;
        return absl::OkStatus();
      }
      break;
    case Part::kContents:
      if (type == kText || type == kTextPart) return absl::OkStatus();
      if (type == kExtracted) {
        part_ = Part::kExtracted;
        return absl::OkStatus();
      }
      break;
    case Part::kExtracted:
      has_recipient_ |= type == kRecipient;
      if (type == kRecipient || type == kAttribute) return absl::OkStatus();
      if (type == kEnd && has_recipient_) {
        part_ = Part::kEnd;
        return absl::OkStatus();
      }
      break;
    case Part::kEnd:
      break;
  }
  return Bad(Concat("unexpected record type: ", static_cast<int>(type)));
}

bool IsKnownAttribute(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  for (const std::string_view known : kAttributes) {
    if (known == name) return text.size() > name.size();
  }
  return false;
}

absl::Status SubmissionReader::Take(std::string_view bytes, std::string* contents) {
  reader_.Feed(bytes);
  while (true) {
    switch (reader_.Next()) {
      case RecordReader::kNeedMore:
        return absl::OkStatus();
      case RecordReader::kBroken:
        return Bad("malformed input");
      case RecordReader::kRecord:
        break;
    }
    if (absl::Status taken = TakeRecord(reader_.type(), reader_.data(), contents); !taken.ok()) {
      return taken;
    }
  }
}

absl::Status SubmissionReader::Finish() const {
  if (order_.done() && !reader_.pending()) return absl::OkStatus();
  return Bad("unexpected end of data");
}

// What is kept in memory of an envelope.
absl::Status SubmissionReader::Count(size_t bytes) {
  envelope_bytes_ += bytes + sizeof(Recipient);
  if (envelope_bytes_ > kEnvelopeBytesMax) return Bad("too long an envelope");
  return absl::OkStatus();
}

absl::Status SubmissionReader::TakeRecord(char type, std::string_view data, std::string* contents) {
  if (absl::Status expected = order_.Accept(type); !expected.ok()) return expected;
  if (!order_.in_contents()) {
    if (absl::Status counted = Count(data.size()); !counted.ok()) return counted;
  }
  switch (type) {
    case kText:
      contents->append(data).push_back('\n');
      break;
    case kTextPart:
      contents->append(data);
      break;
    case kContents:
      envelope_known_ = true;
      break;
    case kFullName:
      envelope_.full_name = data;
      break;
    case kSender:
      envelope_.sender = data;
      break;
    case kVerp:
      envelope_.verp = data;
      break;
    case kAttribute:
      return TakeAttribute(data);
    case kRecipient:
      if (envelope_.recipients.size() >= kRecipientsMax) return Bad("too many recipients");
      next_.address = data;
      envelope_.recipients.push_back(std::exchange(next_, {}));
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

absl::Status SubmissionReader::TakeAttribute(std::string_view text) {
  if (!IsKnownAttribute(text)) return absl::OkStatus();
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const std::string_view value = text.substr(equals + 1);
  if (name == "encoding") {
    envelope_.body_8bit = value == "8bit";
    envelope_.body_7bit = value == "7bit";
  } else if (name == "rewrite_context") {
    envelope_.is_remote = value == "remote";
  } else if (name == "envelope_id") {
    envelope_.envelope_id = value;
  } else if (name == "dsn_orig_rcpt") {
    next_.original = value;
  } else if (name == "notify_flags") {
    return ReadNumber(name, value, kNotifyMax, &next_.notify);
  } else if (name == "ret_flags") {
    return ReadNumber(name, value, kReturnMax, &envelope_.dsn_return);
  } else {
    uint32_t flags = 0;
    absl::Status read = ReadNumber(name, value, kProbe | kTrace, &flags);
    envelope_.wants_probe = (flags & kProbe) != 0;
    envelope_.wants_trace = (flags & kTrace) != 0;
    return read;
  }
  return absl::OkStatus();
}

}  // namespace postfleet::maildrop
