#include "libs/message/cleanup.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/mail/address.h"
#include "libs/message/header.h"

namespace postfleet::message {
namespace {

constexpr std::string_view kDefectTexts[] = {
    "MIME nesting exceeds safety limit", "improper use of 8-bit data in message header",
    "improper use of 8-bit data in message body",
    "invalid message/* or multipart/* encoding domain", "disallowed character"};
// Of text that is shown in the log.
constexpr size_t kShownBytesMax = 200;

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
bool Has8Bit(std::string_view text) { return Has8Bit(text.data(), text.size()); }

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

std::string_view WithoutLeadingBlanks(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

}  // namespace

std::string_view DefectText(Defect defect) { return kDefectTexts[static_cast<size_t>(defect)]; }

Cleanup::Cleanup(CleanupOptions options, std::string prepended)
    : options_(std::move(options)),
      filter_(options_.strip_bytes, options_.reject_bytes),
      structure_(options_.mime_limits),
      prepended_(std::move(prepended)) {}

std::optional<Defect> Cleanup::defect() const {
  for (size_t i = 0; i < std::size(kDefectTexts); ++i) {
    if ((defects_ & (1u << i)) != 0) return static_cast<Defect>(i);
  }
  return std::nullopt;
}

// They are fields as all others, but the content's first line never continues them.
void Cleanup::WritePrepended(std::string* out) {
  if (prepended_written_) return;
  prepended_written_ = true;
  std::string text;
  if (filter_.idle()) {
    text = std::move(prepended_);
  } else {
    filter_.Take(prepended_, &text);
  }
  for (HeaderReader reader(text); reader.Next();) {
    const HeaderField& field = reader.field();
    name_length_ = field.name.size();
    field_.clear();
    AddToField(field.raw.substr(0, field.raw.size() - 1));
    FlushField(out);
  }
}

void Cleanup::Append(std::string_view in, std::string* out) {
  const size_t before = out->size();
  WritePrepended(out);
  if (filter_.idle()) {
    Take(in, out);
  } else {
    std::string kept;
    filter_.Take(in, &kept);
    Take(kept, out);
  }
  if (filter_.rejected_line()) AddDefect(Defect::kCharacter, *filter_.rejected_line());
  output_bytes_ += out->size() - before;
}

void Cleanup::Take(std::string_view in, std::string* out) {
  while (!in.empty() && state_ != State::kBody) {
    if (rest_ != Rest::kNone) {
      in.remove_prefix(TakeRest(in, out));
    } else if (state_ == State::kLines) {
      in.remove_prefix(TakeBodyLine(in, out));
    } else {
      in.remove_prefix(TakeHeaderBytes(in, out));
    }
  }
  if (!in.empty()) AppendBody(in, out);
}

void Cleanup::Finish(std::string* out) {
  const size_t before = out->size();
  WritePrepended(out);
  filter_.Finish();
  if (filter_.rejected_line()) AddDefect(Defect::kCharacter, *filter_.rejected_line());
  if (!line_.empty()) {
    ended_ = true;
    if (state_ == State::kLines) {
      BodyLine(line_, out);
    } else {
      HeaderLine(out);
    }
  }
  line_.clear();
  // Postfix adds no empty line to a message that is header only.
  if (state_ == State::kFirstLine || state_ == State::kHeader) EndHeader(/*empty_line=*/false, out);
  if (!last_byte_lf_) out->push_back('\n');
  last_byte_lf_ = true;
  output_bytes_ += out->size() - before;
}

// Of the line whose start is taken; the LF with it.
size_t Cleanup::TakeRest(std::string_view in, std::string* out) {
  const size_t newline = in.find('\n');
  const bool ended = newline != std::string_view::npos;
  const std::string_view piece = in.substr(0, newline);
  if (rest_ == Rest::kBody && options_.refuse_body_8bit) return TakeBodyLine(in, out);
  if (rest_ == Rest::kField) AddToField(piece);
  if (rest_ == Rest::kBody) AppendBody(in.substr(0, piece.size() + ended), out);
  if (ended) rest_ = Rest::kNone;
  return piece.size() + ended;
}

// Into line_. True: it is whole (ended_), or has line_bytes_max bytes. Its LF is taken.
bool Cleanup::GatherLine(std::string_view in, size_t* taken) {
  const size_t newline = in.find('\n');
  const std::string_view piece = in.substr(0, newline);
  const size_t old_size = line_.size();
  const size_t size = std::min(piece.size(), options_.line_bytes_max - old_size);
  line_.append(piece.substr(0, size));
  if (options_.replace_stray_cr) ReplaceCrs(line_.data() + old_size, size);
  ended_ = newline != std::string_view::npos && size == piece.size();
  *taken = size + ended_;
  return ended_ || line_.size() == options_.line_bytes_max;
}

size_t Cleanup::TakeHeaderBytes(std::string_view in, std::string* out) {
  size_t taken = 0;
  if (!GatherLine(in, &taken)) return taken;
  HeaderLine(out);
  line_.clear();
  return taken;
}

// Most lines are nothing but text, as their first byte shows.
size_t Cleanup::TakeBodyLine(std::string_view in, std::string* out) {
  const bool checked = options_.refuse_body_8bit;
  if (line_.empty() && in.front() != '-' && !checked) {
    rest_ = Rest::kBody;
    return TakeRest(in, out);
  }
  size_t taken = 0;
  if (!GatherLine(in, &taken)) return taken;
  BodyLine(line_, out);
  line_.clear();
  return taken;
}

// line_ is whole, or its first line_bytes_max bytes.
void Cleanup::HeaderLine(std::string* out) {
  rest_ = ended_ ? Rest::kNone : Rest::kField;
  if (state_ == State::kFirstLine && IsMailboxLine(line_)) {
    if (options_.mailbox_lines == CleanupOptions::MailboxLines::kDelete) {
      if (rest_ == Rest::kField) rest_ = Rest::kSkipped;
      return;
    }
    line_.insert(0, "X-Mailbox-Line: ");
  }
  state_ = State::kHeader;
  field_line_over_ = false;
  if (!field_.empty() && !line_.empty() && IsBlank(line_[0])) {
    AddToField("\n");
    return AddToField(line_);
  }
  if (const size_t name_length = FieldNameLength(line_)) {
    FlushField(out);
    return StartField(name_length);
  }
  EndHeader(line_.empty(), out);
  if (!line_.empty() || !ended_) {
    rest_ = Rest::kNone;
    BodyLine(line_, out);
  } else {
    AppendBody("\n", out);
  }
}

// The bytes that a body's line begins with, or with kBody in rest_ more of them.
void Cleanup::BodyLine(std::string_view line, std::string* out) {
  if (options_.refuse_body_8bit && options_.mime &&
      structure_.encoding() == MimeStructure::Encoding::k7Bit && Has8Bit(line)) {
    AddDefect(Defect::kBody8Bit, line);
  }
  AppendBody(line, out);
  if (ended_) AppendBody("\n", out);
  const bool starts = rest_ == Rest::kNone;
  rest_ = ended_ ? Rest::kNone : Rest::kBody;
  if (!starts || !options_.mime) return;
  structure_.OnBodyLine(line);
  ChooseBodyState();
}

void Cleanup::ChooseBodyState() {
  if (options_.mime && structure_.in_header()) {
    state_ = State::kHeader;
    return;
  }
  const bool looked_at = options_.mime && (!structure_.is_last() || options_.refuse_body_8bit);
  state_ = looked_at ? State::kLines : State::kBody;
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
  if (field_line_over_) return;
  // Postfix's fields are C strings.
  const size_t nul = bytes.find('\0');
  field_line_over_ = nul != std::string_view::npos;
  bytes = bytes.substr(0, nul);
  const size_t room =
      options_.header_bytes_max - std::min(field_.size(), options_.header_bytes_max);
  if (bytes.size() > room) header_cut_ = true;
  const size_t start = field_.size();
  field_.append(bytes.substr(0, room));
  if (options_.replace_stray_cr) ReplaceCrs(field_.data() + start, field_.size() - start);
}

void Cleanup::FlushField(std::string* out) {
  field_line_over_ = false;
  // A field that was cut behind a line end must not end the header.
  while (!field_.empty() && field_.back() == '\n') field_.pop_back();
  if (field_.empty()) return;
  name_.assign(field_, 0, name_length_);
  mail::LowerCaseAscii(&name_);
  NoteField(name_);
  if (primary_) {
    if (IsDropped()) return field_.clear();
    const KnownField* known = FindKnownField(name_);
    if (known != nullptr && known->has_addresses && options_.rewriting != nullptr) {
      RewriteAddressField(*options_.rewriting, &field_);
      // It may have grown.
      if (field_.size() > options_.header_bytes_max) {
        field_.resize(std::max(options_.header_bytes_max, name_length_ + 1));
        header_cut_ = true;
        while (field_.back() == '\n') field_.pop_back();
      }
    }
    if (options_.editor != nullptr) options_.editor->OnField(name_, &field_);
  }
  header_8bit_ = header_8bit_ || Has8Bit(field_);
  if (!field_.empty()) out->append(field_).push_back('\n');
  field_.clear();
}

// What is to be known of it, whether it is kept or not.
void Cleanup::NoteField(std::string_view name) {
  const std::string_view value = std::string_view(field_).substr(
      std::min(field_.find(':', name_length_), field_.size() - 1) + 1);
  if (options_.refuse_header_8bit && options_.mime && Has8Bit(field_)) {
    AddDefect(Defect::kHeader8Bit, field_);
  }
  if (options_.mime) {
    structure_.OnField(name, value);
    if (structure_.too_deep() && (options_.refuse_header_8bit || options_.refuse_body_8bit ||
                                  options_.refuse_encoding_domain)) {
      AddDefect(Defect::kNesting, field_);
    }
  }
  if (name == "content-transfer-encoding") {
    const std::string_view said = WithoutLeadingBlanks(value);
    says_8bit_ = says_8bit_ || EqualsIgnoreCase(said, "8bit") || EqualsIgnoreCase(said, "binary");
  }
  if (!primary_) return;
  if (name == "received") ++hops_;
  const KnownField* known = FindKnownField(name);
  if (known == nullptr) return;
  seen_ |= known->seen;
  if ((known->seen & kSeenMessageId) != 0) NoteMessageId(CleanupNote::kMessageId, value);
  if ((known->seen & kSeenResentMessageId) != 0) {
    NoteMessageId(CleanupNote::kResentMessageId, value);
  }
}

void Cleanup::NoteMessageId(CleanupNote::Kind kind, std::string_view id) {
  AddNote({.kind = kind, .text = std::string(WithoutLeadingBlanks(id))});
}

void Cleanup::AddNote(CleanupNote note) {
  // Behind too many hops Postfix reads nothing.
  if (notes_made_ == kNotesMax || too_many_hops()) return;
  ++notes_made_;
  notes_.push_back(std::move(note));
}

// Each is noted once.
void Cleanup::AddDefect(Defect defect, std::string_view text) {
  const uint32_t bit = 1u << static_cast<unsigned>(defect);
  if ((defects_ & bit) != 0) return;
  defects_ |= bit;
  AddNote({.kind = CleanupNote::kDefect,
           .text = std::string(text.substr(0, kShownBytesMax)),
           .defect = defect});
}

bool Cleanup::IsDropped() const {
  const auto& drop = options_.drop_headers;
  return std::find(drop.begin(), drop.end(), name_) != drop.end();
}

// By the empty line, by a line that is no field, or with the content.
void Cleanup::EndHeader(bool empty_line, std::string* out) {
  FlushField(out);
  if (options_.mime) {
    CheckDomain();
    structure_.OnHeaderEnd(empty_line);
  }
  if (std::exchange(primary_, false)) {
    if (options_.missing.has_value()) AddMissing(out);
    if ((seen_ & kSeenMessageId) == 0) NoteMessageId(CleanupNote::kMessageId, "<>");
    if (options_.editor != nullptr) options_.editor->OnHeaderEnd(out);
    if (!empty_line && !line_.empty()) out->push_back('\n');
  }
  ChooseBodyState();
}

// RFC 2045, 6.4: what has parts is not encoded itself.
void Cleanup::CheckDomain() {
  if (!options_.refuse_encoding_domain) return;
  using Kind = MimeStructure::Kind;
  using Encoding = MimeStructure::Encoding;
  const Encoding encoding = structure_.encoding();
  const bool encoded = encoding == Encoding::kQuotedPrintable || encoding == Encoding::kBase64;
  const Kind kind = structure_.kind();
  const bool whole = kind == Kind::kMultipart || kind == Kind::kNestedMessage;
  // RFC 2046, 5.2.2 and 5.2.3.
  const bool wide = kind == Kind::kPartialMessage && structure_.is_8bit();
  if ((whole && encoded) || wide) AddDefect(Defect::kEncodingDomain, EncodingName(encoding));
}

void Cleanup::AddMissing(std::string* out) {
  const size_t start = out->size();
  const bool resent = (seen_ & kSeenResent) != 0;
  std::string id;
  AppendMissingFields(*options_.missing, seen_, out, &id);
  header_8bit_ |= Has8Bit(out->data() + start, out->size() - start);
  if (id.empty()) return;
  NoteMessageId(resent ? CleanupNote::kResentMessageId : CleanupNote::kMessageId, id);
  if (!resent) seen_ |= kSeenMessageId;
}

void Cleanup::NoteBody(const char* data, size_t size) {
  body_8bit_ = body_8bit_ || Has8Bit(data, size);
  last_byte_lf_ = data[size - 1] == '\n';
}

void Cleanup::AppendBody(std::string_view in, std::string* out) {
  if (in.empty()) return;
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
