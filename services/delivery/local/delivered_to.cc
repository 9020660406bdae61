#include "services/delivery/local/delivered_to.h"

#include "libs/mail/address.h"

namespace postfleet::delivery {
namespace {

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t start = text.find_first_not_of(kBlanks);
  if (start == std::string_view::npos) return "";
  return std::string(text.substr(start, text.find_last_not_of(kBlanks) - start + 1));
}

}  // namespace

bool DeliveredTo::Take(std::string_view piece) {
  while (!ended_ && !piece.empty()) {
    const size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    line_ += part.substr(0, kLineBytesMax - line_.size());
    bytes_ += part.size() + 1;
    if (bytes_ > kHeaderBytesMax) ended_ = true;
    if (end == std::string_view::npos) break;
    if (!TakeLine(line_)) ended_ = true;
    line_.clear();
    piece.remove_prefix(end + 1);
  }
  return ended_;
}

void DeliveredTo::End() {
  if (!ended_ && !line_.empty()) TakeLine(line_);
  ended_ = true;
}

bool DeliveredTo::TakeLine(std::string_view line) {
  const bool is_folded = has_lines_ && (line.starts_with(' ') || line.starts_with('\t'));
  has_lines_ = true;
  if (is_folded) {
    if (in_message_id_ && message_id_.empty()) message_id_ = Trimmed(line);
    return true;
  }
  in_message_id_ = false;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const size_t space = line.substr(0, colon).find_first_of(" \t");
  // "Name :" is a field, too.
  if (space != std::string_view::npos &&
      line.substr(space, colon - space).find_first_not_of(" \t") != std::string_view::npos) {
    return false;
  }
  const std::string name = mail::LowerCasedAscii(line.substr(0, std::min(space, colon)));
  if (name == "message-id" && message_id_.empty()) {
    in_message_id_ = true;
    message_id_ = Trimmed(line.substr(colon + 1));
  }
  if (name != "delivered-to") return true;
  const size_t start = line.find_first_not_of(" \t", colon + 1);
  if (start != std::string_view::npos) {
    addresses_.insert(mail::LowerCasedAscii(line.substr(start)));
  }
  return true;
}

}  // namespace postfleet::delivery
