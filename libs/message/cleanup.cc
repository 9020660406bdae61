#include "libs/message/cleanup.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/mail/address.h"
#include "libs/message/header.h"

namespace postfleet::message {
namespace {

// A line's kind shows within these bytes (line_length_limit: Postfix looks at pieces of that size).
constexpr size_t kKindBytesMax = 2048;

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

bool Has8Bit(const char* data, size_t size) {
  uint64_t seen = 0;
  for (; size >= sizeof(seen); data += sizeof(seen), size -= sizeof(seen)) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    seen |= word;
  }
  for (; size > 0; --size) seen |= static_cast<unsigned char>(*data++);
  return (seen & 0x8080808080808080) != 0;
}

void ReplaceCrs(char* data, size_t size) {
  while (void* cr = std::memchr(data, '\r', size)) {
    char* at = static_cast<char*>(cr);
    *at = ' ';
    size -= at + 1 - data;
    data = at + 1;
  }
}

// `From ` or `>From `, as mail programs write it above a message in a mailbox.
bool IsMailboxLine(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of('>'), line.size()));
  return line.substr(0, 5) == "From ";
}

}  // namespace

Cleanup::Cleanup(CleanupOptions options, std::string prepended)
    : options_(std::move(options)), prepended_(std::move(prepended)) {
  for (HeaderReader reader(prepended_); reader.Next();) {
    if (EqualsIgnoreCase(reader.field().name, "received")) ++hops_;
  }
}

void Cleanup::WritePrepended(std::string* out) {
  if (prepended_written_) return;
  prepended_written_ = true;
  out->append(prepended_);
}

void Cleanup::Append(std::string_view in, std::string* out) {
  const size_t before = out->size();
  WritePrepended(out);
  while (state_ != State::kBody && !in.empty()) in.remove_prefix(TakeHeaderBytes(in, out));
  if (!in.empty()) AppendBody(in, out);
  output_bytes_ += out->size() - before;
}

void Cleanup::Finish(std::string* out) {
  const size_t before = out->size();
  WritePrepended(out);
  if (state_ != State::kBody && !line_.empty()) HeaderLine(out);
  line_.clear();
  // Postfix adds no empty line to a message that is header only.
  if (state_ != State::kBody) EndHeader(/*add_empty_line=*/false, out);
  if (!last_byte_lf_) out->push_back('\n');
  last_byte_lf_ = true;
  output_bytes_ += out->size() - before;
}

// Takes what belongs to one line; the LF with it.
size_t Cleanup::TakeHeaderBytes(std::string_view in, std::string* out) {
  const size_t newline = in.find('\n');
  const bool ended = newline != std::string_view::npos;
  std::string_view piece = in.substr(0, newline);
  if (in_line_ || skip_line_) {
    if (in_line_) AddToField(piece);
    if (ended) in_line_ = skip_line_ = false;
    return piece.size() + ended;
  }
  const size_t old_size = line_.size();
  const size_t taken = std::min(piece.size(), kKindBytesMax - old_size);
  line_.append(piece.substr(0, taken));
  if (options_.replace_stray_cr) ReplaceCrs(line_.data() + old_size, taken);
  const bool whole = ended && taken == piece.size();
  if (!whole && line_.size() < kKindBytesMax) return taken;

  // Of a longer line the rest follows its first bytes wherever they go.
  in_line_ = !whole;
  HeaderLine(out);
  line_.clear();
  if (state_ != State::kBody) return taken + whole;
  // The line opened the body; what of it was taken is out already, its LF is the body's.
  in_line_ = false;
  return whole && body_takes_newline_ ? taken : taken + whole;
}

// line_ is complete, or has kKindBytesMax bytes.
void Cleanup::HeaderLine(std::string* out) {
  if (state_ == State::kFirstLine && IsMailboxLine(line_)) {
    if (options_.mailbox_lines == CleanupOptions::MailboxLines::kDelete) {
      skip_line_ = std::exchange(in_line_, false);
      return;
    }
    line_.insert(0, "X-Mailbox-Line: ");
  }
  state_ = State::kHeader;
  if (line_.empty()) return EndHeader(/*add_empty_line=*/true, out);
  if (!field_.empty() && IsBlank(line_[0])) {
    AddToField("\n");
    return AddToField(line_);
  }
  if (const size_t name_length = FieldNameLength(line_)) {
    FlushField(out);
    return StartField(name_length);
  }
  EndHeader(/*add_empty_line=*/true, out);
  body_takes_newline_ = true;
  AppendBody(line_, out);
}

// Drops the blanks between name and colon. Both are kept whatever the limit is: without them the
// rest of the header would become body.
void Cleanup::StartField(size_t name_length) {
  const size_t colon = line_.find(':', name_length);
  name_length_ = name_length;
  field_.assign(line_, 0, name_length).push_back(':');
  AddToField(std::string_view(line_).substr(colon + 1));
}

void Cleanup::AddToField(std::string_view bytes) {
  const size_t room =
      options_.header_bytes_max - std::min(field_.size(), options_.header_bytes_max);
  if (bytes.size() > room) header_cut_ = true;
  const size_t start = field_.size();
  field_.append(bytes.substr(0, room));
  if (options_.replace_stray_cr) ReplaceCrs(field_.data() + start, field_.size() - start);
}

void Cleanup::FlushField(std::string* out) {
  // A field that was cut behind a line end must not end the header.
  while (!field_.empty() && field_.back() == '\n') field_.pop_back();
  if (field_.empty()) return;
  name_.assign(field_, 0, name_length_);
  mail::LowerCaseAscii(&name_);
  const KnownField* known = FindKnownField(name_);
  if (known != nullptr) seen_ |= known->seen;
  if (IsDropped()) return field_.clear();

  if (name_ == "received") ++hops_;
  if (known != nullptr) {
    const bool resent = (known->seen & kSeenResentMessageId) != 0;
    std::string& id = resent ? resent_message_id_ : message_id_;
    if ((resent || (known->seen & kSeenMessageId) != 0) && id.empty()) {
      HeaderReader reader(field_);
      if (reader.Next()) id = reader.field().value;
    }
    if (known->has_addresses && options_.rewriting != nullptr) {
      RewriteAddressField(*options_.rewriting, &field_);
    }
  }
  header_8bit_ |= Has8Bit(field_.data(), field_.size());
  says_8bit_ = says_8bit_ || (name_ == "content-transfer-encoding" && FieldSays8Bit());
  if (options_.editor != nullptr) options_.editor->OnField(name_, &field_);
  if (!field_.empty()) out->append(field_).push_back('\n');
  field_.clear();
}

// As Postfix reads it: with a comment or blanks behind it, it is another word.
bool Cleanup::FieldSays8Bit() const {
  std::string_view value = std::string_view(field_).substr(name_length_ + 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t\n"), value.size()));
  return EqualsIgnoreCase(value, "8bit") || EqualsIgnoreCase(value, "binary");
}

bool Cleanup::IsDropped() const {
  const auto& drop = options_.drop_headers;
  return std::find(drop.begin(), drop.end(), name_) != drop.end();
}

// The empty line that ends the header, its own or the one that was missing.
void Cleanup::EndHeader(bool add_empty_line, std::string* out) {
  FlushField(out);
  if (options_.missing.has_value()) AddMissing(out);
  if (options_.editor != nullptr) options_.editor->OnHeaderEnd(out);
  if (add_empty_line) out->push_back('\n');
  state_ = State::kBody;
}

void Cleanup::AddMissing(std::string* out) {
  const size_t start = out->size();
  const bool resent = (seen_ & kSeenResent) != 0;
  AppendMissingFields(*options_.missing, seen_, out, resent ? &resent_message_id_ : &message_id_);
  header_8bit_ |= Has8Bit(out->data() + start, out->size() - start);
}

void Cleanup::NoteBody(const char* data, size_t size) {
  body_8bit_ = body_8bit_ || Has8Bit(data, size);
  last_byte_lf_ = data[size - 1] == '\n';
}

void Cleanup::AppendBody(std::string_view in, std::string* out) {
  const size_t start = out->size();
  out->append(in);
  if (options_.replace_stray_cr) ReplaceCrs(out->data() + start, in.size());
  NoteBody(in.data(), in.size());
}

void Cleanup::FilterBody(char* data, size_t size) {
  if (size == 0) return;
  if (options_.replace_stray_cr) ReplaceCrs(data, size);
  NoteBody(data, size);
  output_bytes_ += size;
}

}  // namespace postfleet::message
