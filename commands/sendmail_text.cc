#include "commands/sendmail_text.h"

#include <algorithm>
#include <utility>

#include "libs/mail/address_list.h"
#include "libs/maildrop/record.h"
#include "libs/message/header.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kRecipientFields[] = {"to", "cc", "bcc"};
constexpr std::string_view kResent = "resent-";

bool StartsWithFrom(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of('>'), line.size()));
  return line.starts_with("From ");
}

}  // namespace

bool ParseLineEnds(std::string_view word, SendmailTextOptions::LineEnds* line_ends) {
  using LineEnds = SendmailTextOptions::LineEnds;
  constexpr std::pair<std::string_view, LineEnds> kWords[] = {
      {"always", LineEnds::kAlways}, {"strict", LineEnds::kStrict}, {"never", LineEnds::kNever}};
  for (const auto& [name, value] : kWords) {
    if (!message::EqualsIgnoreCase(name, word)) continue;
    *line_ends = value;
    return true;
  }
  return false;
}

std::vector<std::string> ReadAddresses(std::string_view list, size_t tokens_max) {
  std::vector<std::string> addresses;
  const auto take = [&](mail::AddressTokens* tokens) {
    addresses.emplace_back();
    mail::AppendAddressTokens(*tokens, {.quoted = false}, &addresses.back());
    *tokens = {{mail::AddressToken::Kind::kAddress, 0, {}}};
    return false;
  };
  mail::AddressTokens edited;
  mail::EditAddresses(mail::TokenizeAddresses(list, tokens_max), take, &edited);
  std::reverse(addresses.begin(), addresses.end());
  return addresses;
}

void SendmailText::Take(std::string_view bytes, std::string* records) {
  while (!bytes.empty() && !ended_) {
    const size_t end = bytes.find('\n');
    const size_t room = options_.line_bytes_max - line_.size();
    const size_t taken = std::min({end, room, bytes.size()});
    line_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (line_.size() == options_.line_bytes_max) {
      TakeLine(false, records);
    } else if (!bytes.empty()) {
      bytes.remove_prefix(1);
      TakeLine(true, records);
    }
  }
}

// `whole`: the line has its end. What of it is in line_ leaves.
void SendmailText::TakeLine(bool whole, std::string* records) {
  const bool starts = !std::exchange(in_line_, !whole);
  std::string line = std::exchange(line_, {});
  if (starts) dropping_ = in_front_ && StartsWithFrom(line);
  if (dropping_) return;
  in_front_ = false;
  if (whole && first_) strips_cr_ = line.ends_with('\r');
  if (whole) first_ = false;
  using LineEnds = SendmailTextOptions::LineEnds;
  const bool strips = options_.line_ends == LineEnds::kAlways ||
                      (options_.line_ends == LineEnds::kStrict && strips_cr_);
  if (whole && strips) line.erase(line.find_last_not_of('\r') + 1);
  if (whole && starts && options_.dot_ends && line == ".") {
    ended_ = true;
    return;
  }
  if (options_.recipients_in_header) SeeHeader(line, whole, starts);
  maildrop::AppendRecord(whole ? maildrop::kText : maildrop::kTextPart, line, records);
}

void SendmailText::Finish(std::string* records) {
  if (!ended_ && !line_.empty() && !dropping_) TakeLine(false, records);
  ended_ = true;
  EndField();
}

void SendmailText::SeeHeader(std::string_view line, bool whole, bool starts) {
  if (!in_header_) return;
  if (starts) {
    const bool continues = !line.empty() && (line[0] == ' ' || line[0] == '\t') && field_bytes_ > 0;
    if (!continues) {
      EndField();
      in_header_ = message::FieldNameLength(line) > 0;
      if (!in_header_) return;
    }
  }
  field_bytes_ += line.size() + 1;
  if (field_.size() <= options_.header_bytes_max) field_.append(line);
  if (whole) field_.push_back('\n');
}

void SendmailText::EndField() {
  const std::string field = std::exchange(field_, {});
  const size_t bytes = std::exchange(field_bytes_, 0);
  std::string name(field.substr(0, message::FieldNameLength(field)));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  std::string_view kind = name;
  const bool resent = kind.starts_with(kResent);
  if (resent) kind.remove_prefix(kResent.size());
  if (std::find(std::begin(kRecipientFields), std::end(kRecipientFields), kind) ==
      std::end(kRecipientFields)) {
    return;
  }
  const std::string_view list = std::string_view(field).substr(field.find(':') + 1);
  recipients_bytes_ += bytes;
  if (bytes > options_.header_bytes_max || recipients_bytes_ > kRecipientsBytesMax) {
    header_status_ = absl::OutOfRangeError(
        "unable to extract recipients: message header length exceeds safety limit");
    return;
  }
  std::vector<std::string>& recipients = resent ? resent_ : plain_;
  for (std::string& address : ReadAddresses(list, options_.tokens_max)) {
    recipients.push_back(std::move(address));
  }
}

}  // namespace postfleet::commands
