#include "commands/maildrop_text.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/message/header.h"

namespace postfleet::commands {
namespace {

constexpr size_t kReadBytes = 64 * 1024;

// As ctime(3) has it.
std::string TimeText(std::string_view data, absl::TimeZone zone) {
  int64_t seconds = 0;
  std::from_chars(data.data(), data.data() + data.size(), seconds);
  return absl::FormatTime("%a %b %e %H:%M:%S %Y", absl::FromUnixSeconds(seconds), zone);
}

struct NameRow {
  char type;
  std::string_view name;
};
constexpr NameRow kNames[] = {
    {maildrop::kTime, "message_arrival_time"},
    {maildrop::kFullName, "sender_fullname"},
    {maildrop::kSender, "sender"},
    {maildrop::kVerp, "verp_delimiters"},
    {maildrop::kAttribute, "named_attribute"},
    {maildrop::kRecipient, "recipient"},
};

}  // namespace

absl::Status MaildropText::Take(std::string_view bytes, std::string* text) {
  reader_.Feed(bytes);
  while (true) {
    const maildrop::RecordReader::Result result = reader_.Next();
    if (result == maildrop::RecordReader::kNeedMore) return absl::OkStatus();
    if (result == maildrop::RecordReader::kBroken || !order_.Accept(reader_.type()).ok()) {
      if (began_) return absl::DataLossError("record read error");
      return absl::InvalidArgumentError("input is not a valid queue file");
    }
    if (!std::exchange(began_, true)) AddMark("ENVELOPE RECORDS", text);
    AddRecord(reader_.type(), reader_.data(), text);
  }
}

absl::Status MaildropText::Finish() const {
  if (order_.done() && !reader_.pending()) return absl::OkStatus();
  if (!began_) return absl::InvalidArgumentError("input is not a valid queue file");
  return absl::DataLossError("record read error");
}

void MaildropText::AddMark(std::string_view words, std::string* text) const {
  if (options_.envelope) ConcatTo(text, "*** ", words, " ", name_, " ***\n");
}

void MaildropText::AddRecord(char type, std::string_view data, std::string* text) {
  switch (type) {
    case maildrop::kText:
      return AddContents(data, true, text);
    case maildrop::kTextPart:
      return AddContents(data, false, text);
    case maildrop::kContents:
      return AddMark("MESSAGE CONTENTS", text);
    case maildrop::kExtracted:
      return AddMark("HEADER EXTRACTED", text);
    case maildrop::kEnd:
      return AddMark("MESSAGE FILE END", text);
    default:
      break;
  }
  if (!options_.envelope) return;
  for (const NameRow& row : kNames) {
    if (row.type != type) continue;
    ConcatTo(text, row.name, ": ");
    if (type == maildrop::kTime) {
      text->append(TimeText(data, options_.zone));
    } else {
      text->append(data);
    }
    text->push_back('\n');
  }
}

void MaildropText::AddContents(std::string_view data, bool ends, std::string* text) {
  const bool starts = std::exchange(at_line_start_, ends);
  if (starts && !in_body_) {
    const bool continues = !first_line_ && !data.empty() && (data[0] == ' ' || data[0] == '\t');
    in_body_ = !continues && message::FieldNameLength(data) == 0;
    first_line_ = false;
  }
  if (!(in_body_ ? options_.body : options_.header)) return;
  text->append(data);
  if (ends) text->push_back('\n');
}

absl::Status ShowMaildropFile(const std::string& path, const std::string& name,
                              const MaildropTextOptions& options,
                              const std::function<bool(std::string_view)>& write) {
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return absl::NotFoundError(Concat("open ", path, ": ", std::string_view(strerror(errno))));
  }
  absl::Cleanup close_fd = [fd] { close(fd); };
  MaildropText show(options, name);
  std::string bytes(kReadBytes, '\0');
  std::string text;
  while (true) {
    const ssize_t size = read(fd, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      return absl::DataLossError(Concat("read ", path, ": ", std::string_view(strerror(errno))));
    }
    if (size == 0) return show.Finish();
    text.clear();
    const absl::Status taken =
        show.Take(std::string_view(bytes).substr(0, static_cast<size_t>(size)), &text);
    if (!write(text)) return absl::OkStatus();
    if (!taken.ok()) return taken;
  }
}

}  // namespace postfleet::commands
