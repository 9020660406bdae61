#include "commands/queue_file_text.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/message/header.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

// Types of Postfix's records (global/rec_type.h).
constexpr char kSize = 'C';
constexpr char kTime = 'T';
constexpr char kAttribute = 'A';
constexpr char kSender = 'S';
constexpr char kOriginalRecipient = 'O';
constexpr char kRecipient = 'R';
constexpr char kDoneRecipient = 'D';
constexpr char kContents = 'M';
constexpr char kLine = 'N';
constexpr char kLinePart = 'L';
constexpr char kExtracted = 'X';
constexpr char kEnd = 'E';

// line_length_limit: longer lines are more than one record.
constexpr size_t kLineRecordBytesMax = 2'048;
constexpr int kInet = 2, kInet6 = 10;  // client_address_type: AF_INET, AF_INET6 of Linux

// ASCII order, without vowels (libs/base/queue_id.h).
constexpr std::string_view kDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
constexpr size_t kMicrosecondDigits = 4;

// A byte for the type, the length in 7-bit groups, the data.
uint64_t RecordBytes(uint64_t data_bytes) {
  uint64_t length_bytes = 1;
  for (uint64_t rest = data_bytes >> 7; rest > 0; rest >>= 7) ++length_bytes;
  return 1 + length_bytes + data_bytes;
}

// The first of the five hexadecimal digits of a long id's microseconds; of another id its first
// character.
char DirectoryOf(std::string_view queue_id) {
  const size_t z = queue_id.rfind('z');
  if (z == queue_id.npos || z < 6 + kMicrosecondDigits) return queue_id.empty() ? '0' : queue_id[0];
  uint64_t microseconds = 0;
  for (const char c : queue_id.substr(z - kMicrosecondDigits, kMicrosecondDigits)) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return queue_id[0];
    microseconds = microseconds * kDigits.size() + digit;
  }
  return absl::StrFormat("%05X", microseconds)[0];
}

// As XFORWARD and XCLIENT have what they do not know.
constexpr std::string_view kUnknown = "unknown";

// Whether XFORWARD named the client. It tells a queue id, from the start, and a port less often.
bool IsForwarded(const mail::v1::Origin& origin) {
  return !origin.ident().empty() || origin.client_port() == kUnknown;
}

// "": not kept.
std::string_view RewriteContext(const mail::v1::Origin& origin) {
  if (origin.client_address().empty() || origin.source() == "LOCAL") return "local";
  return origin.source() == "REMOTE" ? "remote" : "";
}

}  // namespace

struct QueueFileText::Record {
  char type;
  std::string name;
  std::string shown;
  uint64_t data_bytes;

  static Record Text(char type, std::string_view name, std::string_view data) {
    return {type, std::string(name), Showable(data), data.size()};
  }
  static Record Attribute(std::string_view name, std::string_view value) {
    return Text(kAttribute, "named_attribute", Concat(name, "=", value));
  }
};

std::string QueueFilePath(v1::QueueName queue, std::string_view queue_id) {
  const std::string id = Showable(queue_id);
  if (queue != v1::QUEUE_NAME_DEFERRED) return Concat(QueueNameText(queue), "/", id);
  return Concat(QueueNameText(queue), "/", DirectoryOf(queue_id), "/", id);
}

QueueFileText::QueueFileText(const QueueFileOptions& options, absl::TimeZone zone,
                             std::string queue_id)
    : options_(options), zone_(zone), queue_id_(std::move(queue_id)) {}

void QueueFileText::AppendClient(const mail::v1::Origin& origin, std::vector<Record>* records) {
  const std::string& name = origin.client_name();
  const std::string& address = origin.client_address();
  if (address.empty()) return;
  const auto add = [records](std::string_view attribute, std::string_view value) {
    if (!value.empty()) records->push_back(Record::Attribute(attribute, value));
  };
  const bool forwarded = IsForwarded(origin);
  const bool by_name_alone = forwarded && address == kUnknown;
  add("log_client_name", name);
  add("log_client_address", address);
  add("log_client_port", origin.client_port());
  add("log_message_origin", by_name_alone ? name : Concat(name, "[", address, "]"));
  add("log_helo_name", origin.helo());
  add("log_protocol_name", origin.protocol());
  if (forwarded) return;
  add("client_name", name);
  add("client_address", address);
  add("client_port", origin.client_port());
  add("helo_name", origin.helo());
  add("protocol_name", origin.protocol());
  const int family = address.find(':') == address.npos ? kInet : kInet6;
  add("client_address_type", Concat(family));
}

std::vector<QueueFileText::Record> QueueFileText::EnvelopeRecords(
    const v1::InspectResponse& message, const std::vector<v1::InspectedRecipient>& recipients) {
  const mail::v1::Envelope& envelope = message.envelope();
  const mail::v1::Origin& origin = envelope.origin();
  const auto time = [&](int64_t ms) {
    return absl::FormatTime("%a %b %e %H:%M:%S %Y", absl::FromUnixMillis(ms), zone_);
  };
  std::vector<Record> records;
  records.push_back(
      {kTime, "message_arrival_time", time(envelope.arrival_ms()),
       Concat(envelope.arrival_ms() / 1000, " ", envelope.arrival_ms() % 1000 * 1000).size()});
  records.push_back({kAttribute, "create_time", time(message.create_ms()),
                     Concat("create_time=", message.create_ms() / 1000).size()});
  records.push_back(
      Record::Attribute("log_ident", origin.ident().empty() ? queue_id_ : origin.ident()));
  if (const std::string_view context = RewriteContext(origin); !context.empty()) {
    records.push_back(Record::Attribute("rewrite_context", context));
  }
  if (!envelope.dsn_envid().empty()) {
    records.push_back(Record::Attribute("envelope_id", envelope.dsn_envid()));
  }
  if (envelope.dsn_return() != mail::v1::Envelope::RETURN_UNSPECIFIED) {
    // Postfix's numbers are the same: 1 is FULL, 2 HDRS.
    const int flags = envelope.dsn_return();
    records.push_back(Record::Attribute("ret_flags", Concat(flags)));
  }
  records.push_back(Record::Text(kSender, "sender", envelope.sender()));
  if (is_8bit_) records.push_back(Record::Attribute("encoding", "8bit"));
  AppendClient(origin, &records);
  for (const v1::InspectedRecipient& inspected : recipients) {
    const mail::v1::Recipient& recipient = inspected.recipient();
    const std::string& original = recipient.original_address();
    if (recipient.dsn_notify() != 0) {
      records.push_back(Record::Attribute("notify_flags", Concat(recipient.dsn_notify())));
    }
    const std::string& given = original.empty() ? recipient.address() : original;
    if (!recipient.dsn_orcpt().empty()) {
      records.push_back(Record::Attribute("dsn_orig_rcpt", recipient.dsn_orcpt()));
    } else if (!origin.client_address().empty()) {
      records.push_back(
          Record::Attribute("dsn_orig_rcpt", Concat("rfc822;", mail::QuoteAddress(given))));
    }
    records.push_back(Record::Text(kOriginalRecipient, "original_recipient", given));
    const bool done = inspected.state() == v1::InspectedRecipient::BOUNCED;
    records.push_back(Record::Text(done ? kDoneRecipient : kRecipient,
                                   done ? "done_recipient" : "recipient", recipient.address()));
  }
  return records;
}

std::string QueueFileText::Envelope(const v1::InspectResponse& message,
                                    const std::vector<v1::InspectedRecipient>& recipients) {
  path_ = QueueFilePath(message.queue(), queue_id_);
  is_8bit_ = message.envelope().body_8bitmime();
  std::vector<Record> records = EnvelopeRecords(message, recipients);
  const auto size_text = [&](uint64_t contents_offset) {
    return absl::StrFormat("%15d %15d %15d %15d %15d %15d", message.content_bytes(),
                           contents_offset, message.recipients_total(), 0, message.content_bytes(),
                           0);
  };
  uint64_t contents_offset = RecordBytes(size_text(0).size()) + RecordBytes(0);
  for (const Record& record : records) contents_offset += RecordBytes(record.data_bytes);
  const std::string sizes = size_text(contents_offset);

  std::string text;
  if (options_.envelope) ConcatTo(&text, "*** ENVELOPE RECORDS ", path_, " ***\n");
  Append(&text, {kSize, "message_size", sizes, sizes.size()}, options_.envelope);
  for (const Record& record : records) Append(&text, record, options_.envelope);
  Append(&text, {kContents, "", Concat("*** MESSAGE CONTENTS ", path_, " ***"), 0},
         options_.envelope);
  return text;
}

void QueueFileText::Append(std::string* text, const Record& record, bool shown) {
  if (shown) {
    if (options_.offsets) absl::StrAppendFormat(text, "%9d ", offset_);
    if (options_.types) absl::StrAppendFormat(text, "%3d ", record.type);
    if (!record.name.empty()) ConcatTo(text, record.name, ": ");
    text->append(record.shown);
    // A long line is whole, unless its records are told apart.
    const bool apart = options_.offsets || options_.names;
    if (record.type != kLinePart || apart) text->push_back('\n');
  }
  offset_ += RecordBytes(record.data_bytes);
}

void QueueFileText::AppendLine(std::string* text, std::string_view line, bool ends) {
  if (at_line_start_ && part_ != Part::kBody) {
    const bool continues =
        part_ == Part::kHeader && !line.empty() && (line[0] == ' ' || line[0] == '\t');
    part_ = continues || message::FieldNameLength(line) > 0 ? Part::kHeader : Part::kBody;
  }
  at_line_start_ = ends;
  const std::string_view name = !options_.names ? "" : ends ? "regular_text" : "unterminated_text";
  // Contents as they are: 8-bit text stays readable.
  Append(text, {ends ? kLine : kLinePart, std::string(name), std::string(line), line.size()},
         part_ == Part::kBody ? options_.body : options_.header);
}

std::string QueueFileText::Contents(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const size_t end = piece.find('\n');
    const std::string_view part =
        piece.substr(0, std::min(end, kLineRecordBytesMax - line_.size()));
    // As Postfix cuts: a full record ends before it is known what follows.
    const bool is_full = line_.size() + part.size() == kLineRecordBytesMax;
    if (!is_full && end == piece.npos) {
      line_.append(part);
      break;
    }
    if (line_.empty()) {
      AppendLine(&text, part, !is_full);
    } else {
      line_.append(part);
      AppendLine(&text, line_, !is_full);
      line_.clear();
    }
    piece.remove_prefix(part.size() + (is_full ? 0 : 1));
  }
  return text;
}

std::string QueueFileText::End() {
  std::string text;
  if (!line_.empty()) AppendLine(&text, line_, true);
  line_.clear();
  Append(&text, {kExtracted, "", Concat("*** HEADER EXTRACTED ", path_, " ***"), 0},
         options_.envelope);
  if (is_8bit_) Append(&text, Record::Attribute("encoding", "8bit"), options_.envelope);
  Append(&text, {kEnd, "", Concat("*** MESSAGE FILE END ", path_, " ***"), 0}, options_.envelope);
  return text;
}

}  // namespace postfleet::commands
