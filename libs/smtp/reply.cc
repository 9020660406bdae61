#include "libs/smtp/reply.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace postfleet::smtp {
namespace {

constexpr size_t kCodeDigits = 3;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// A reply code at the start of `text`: exactly three digits, 2xx to 5xx. 0: there is none.
int CodeOf(std::string_view text) {
  if (text.size() < kCodeDigits || text[0] < '2' || text[0] > '5') return 0;
  if (!IsDigit(text[1]) || !IsDigit(text[2])) return 0;
  return (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
}

bool IsByteIn(std::string_view text, size_t at, unsigned char first, unsigned char last) {
  if (at >= text.size()) return false;
  const auto byte = static_cast<unsigned char>(text[at]);
  return byte >= first && byte <= last;
}

// As Postfix's printable(): UTF-8 is looked at by its first bytes only.
void MakePrintable(std::string* text, bool keep_utf8) {
  for (size_t i = 0; i < text->size(); ++i) {
    if (IsByteIn(*text, i, 32, 126)) continue;
    if (keep_utf8 && IsByteIn(*text, i, 194, 254) && IsByteIn(*text, i + 1, 128, 191)) {
      while (IsByteIn(*text, i + 1, 128, 191)) ++i;
      continue;
    }
    (*text)[i] = '?';
  }
}

std::string LineOf(const Reply& reply, const std::string& text, char separator) {
  std::string line = std::to_string(reply.code) + separator;
  if (reply.status.present()) line += reply.status.ToString() + " ";
  for (char c : text) line += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  return line;
}

}  // namespace

void FormatReply(const Reply& reply, std::string* out) {
  for (size_t i = 0; i < reply.lines.size(); ++i) {
    *out += LineOf(reply, reply.lines[i], i + 1 < reply.lines.size() ? '-' : ' ');
    *out += "\r\n";
  }
}

std::string FormatReply(const Reply& reply) {
  std::string out;
  FormatReply(reply, &out);
  return out;
}

std::string Reply::ToLogText() const {
  std::string text;
  for (const std::string& line : lines) {
    if (!text.empty()) text += ' ';
    text += LineOf(*this, line, &line == &lines.back() ? ' ' : '-');
  }
  return text;
}

Reply ParseReplyText(std::string_view text, int default_code, mail::EnhancedStatus default_status) {
  const auto skip_blanks = [&text] {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  };
  Reply reply(default_code, default_status, "");
  skip_blanks();
  const int code = text.size() == kCodeDigits ||
                           text.substr(kCodeDigits < text.size() ? kCodeDigits : 0, 1) == " "
                       ? CodeOf(text)
                       : 0;
  if (code != 0) {
    reply.code = code;
    text.remove_prefix(kCodeDigits);
    skip_blanks();
  }
  size_t length = 0;
  if (const auto status = mail::ParseEnhancedStatusPrefix(text, &length)) {
    reply.status = *status;
    text.remove_prefix(length);
    skip_blanks();
  } else if (code != 0 && reply.status.present()) {
    // "450 text" where the default is 5.7.1: the code decides the class.
    reply.status.class_ = code / 100;
  }
  // RFC 3463, 2: a code of another class would say two things at once.
  if (reply.status.present() && reply.status.class_ != reply.code / 100)
    reply.status.class_ = reply.code / 100;
  if (reply.status.class_ == 3) reply.status = {};
  reply.lines[0] = std::string(text);
  return reply;
}

void ReplyParser::Reset() {
  line_.clear();
  reply_ = {};
  lines_ = bytes_ = lines_bytes_ = 0;
  flood_ = filter_failed_ = false;
}

ReplyParser::Result ReplyParser::Feed(std::string_view* in) {
  while (!flood_ && !filter_failed_ && !in->empty()) {
    const size_t newline = in->find('\n');
    const bool ended = newline != std::string_view::npos;
    const std::string_view piece = in->substr(0, newline);
    in->remove_prefix(piece.size() + ended);
    bytes_ += piece.size() + ended;
    line_.append(piece.substr(0, kReplyLineBytesMax - line_.size()));
    flood_ = bytes_ > kReplyBytesMax;
    if (!ended) continue;
    flood_ = flood_ || ++lines_ > kReplyLinesMax;
    const bool last = TakeLine();
    line_.clear();
    if (last) return kReply;
  }
  if (filter_failed_) return kFailed;
  return flood_ ? kFlood : kNeedMore;
}

// True: line_ was the last of a reply.
bool ReplyParser::TakeLine() {
  while (!line_.empty() && line_.back() == '\r') line_.pop_back();
  // Whatever stands behind a NUL is nobody's business, as in Postfix.
  line_.resize(std::min(line_.find('\0'), line_.size()));
  std::string line = line_;
  MakePrintable(&line, keep_utf8_);
  if (filter_) {
    filter_failed_ = !filter_(&line);
    if (filter_failed_) return false;
    MakePrintable(&line, keep_utf8_);
  }
  if (reply_.text.size() < kReplyTextBytesMax) {
    if (!reply_.text.empty()) reply_.text += ' ';
    reply_.text.append(line, 0, kReplyTextBytesMax - reply_.text.size());
  }

  const bool digits =
      line.size() >= kCodeDigits && IsDigit(line[0]) && IsDigit(line[1]) && IsDigit(line[2]);
  const char separator = line.size() > kCodeDigits ? line[kCodeDigits] : ' ';
  if (!digits || (separator != ' ' && separator != '-')) {
    if (!std::exchange(reply_.had_junk, true)) reply_.junk = line;
    return false;
  }
  std::string_view words = std::string_view(line).substr(std::min(kCodeDigits + 1, line.size()));
  if (lines_bytes_ + words.size() <= kReplyTextBytesMax) {
    lines_bytes_ += words.size();
    reply_.lines.emplace_back(words);
  }
  if (separator == '-') return false;

  reply_.code = CodeOf(line);
  size_t length = 0;
  const auto status = mail::ParseEnhancedStatusPrefix(words, &length);
  reply_.has_enhanced_status = status && status->class_ == reply_.code / 100;
  if (reply_.has_enhanced_status) {
    reply_.status = *status;
  } else if (reply_.code != 0 && reply_.code / 100 != 3) {
    reply_.status = {reply_.code / 100, 0, 0};
  }
  return true;
}

}  // namespace postfleet::smtp
