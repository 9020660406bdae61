#include "services/ingress/core/reject_footer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

// RFC 5321, 4.5.3.1.5, without the line's end.
constexpr size_t kLineBytesMax = 512 - 2;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// "name", "{name}" or "(name)" behind a `$`, taken from the front; empty: it is none of these.
std::string_view TakeName(std::string_view* text) {
  const char close = text->starts_with('{') ? '}' : text->starts_with('(') ? ')' : '\0';
  std::string_view rest = text->substr(close == '\0' ? 0 : 1);
  const size_t length =
      static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), IsNameByte) - rest.begin());
  const std::string_view name = rest.substr(0, length);
  rest.remove_prefix(length);
  if (close != '\0') {
    if (!rest.starts_with(close)) return {};
    rest.remove_prefix(1);
  }
  *text = rest;
  return name;
}

std::optional<std::string_view> FactOf(std::string_view name, const FooterFacts& facts) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"client_address", facts.client_address}, {"client_name", facts.client_name},
      {"client_port", facts.client_port},       {"localtime", facts.localtime},
      {"server_name", facts.server_name},       {"sender", facts.sender}};
  for (const auto& [known, value] : rows) {
    if (name == known) return value;
  }
  return std::nullopt;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "5.7.1" in front of `text`: its length.
size_t StatusLength(std::string_view text) {
  size_t dots = 0;
  size_t i = 0;
  while (i < text.size() && (IsDigit(text[i]) || (text[i] == '.' && i > 0)))
    dots += text[i++] == '.';
  const bool whole = dots == 2 && text[i - 1] != '.' && (i == text.size() || text[i] == ' ');
  return whole ? i : 0;
}

// \t and \ooo as postconf(5) writes smtpd_expansion_filter.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
    } else if (text[i + 1] == 't') {
      out += '\t';
      ++i;
    } else if (text[i + 1] >= '0' && text[i + 1] <= '7') {
      int byte = 0;
      size_t digits = 0;
      while (digits < 3 && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '7') {
        byte = byte * 8 + (text[++i] - '0');
        ++digits;
      }
      out += static_cast<char>(byte);
    } else {
      out += text[++i];
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<RejectFooter> RejectFooter::Open(const config::Config& config) {
  RejectFooter footer;
  // Its names are the session's, not main.cf's.
  footer.footer_ = config.FindRaw("smtpd_reject_footer").value_or("");
  footer.allowed_ = Unescaped(config.FindRaw("smtpd_expansion_filter").value_or(""));
  absl::StatusOr<tables::Maps> maps =
      tables::Maps::Open(config.GetList("smtpd_reject_footer_maps"));
  if (!maps.ok()) return maps.status();
  footer.maps_ = *std::move(maps);
  return footer;
}

absl::StatusOr<std::string> RejectFooter::Expand(std::string_view text,
                                                 const FooterFacts& facts) const {
  std::string out;
  while (!text.empty()) {
    const size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == text.npos) break;
    text.remove_prefix(dollar + 1);
    if (text.starts_with('$')) {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    const std::string_view name = TakeName(&text);
    const std::optional<std::string_view> fact = FactOf(name, facts);
    if (!fact) {
      return absl::InvalidArgumentError(
          Concat("smtpd_reject_footer: there is no $", name.empty() ? text : name));
    }
    for (const char c : *fact) out += allowed_.find(c) == std::string::npos ? '_' : c;
  }
  return out;
}

absl::StatusOr<std::string> RejectFooter::Complete(std::string_view reply,
                                                   const FooterFacts& facts) {
  absl::StatusOr<std::optional<std::string>> found = maps_.Lookup(reply);
  if (!found.ok()) return found.status();
  absl::StatusOr<std::string> footer = Expand(*found ? **found : footer_, facts);
  if (!footer.ok()) return footer.status();
  if (footer->empty()) return Concat(reply, "\r\n");

  std::string_view text = *footer;
  std::string out(reply.substr(0, 4));
  const size_t status = StatusLength(reply.substr(std::min<size_t>(4, reply.size())));
  std::string prefix(reply.substr(0, std::min(reply.size(), 4 + status)));
  if (status > 0) prefix += ' ';
  out = reply;
  size_t line = 0;  // where the last line begins
  const auto end_line = [&] {
    out.resize(std::min(out.size(), line + kLineBytesMax));
    out += "\r\n";
  };
  const auto begin_line = [&] {
    out[line + 3] = '-';
    end_line();
    line = out.size();
    out += prefix;
    out[line + 3] = ' ';
  };
  if (text.starts_with("\\c")) {
    text.remove_prefix(2);
  } else {
    begin_line();
  }
  for (size_t end = 0; (end = text.find("\\n")) != text.npos; text.remove_prefix(end + 2)) {
    out += text.substr(0, end);
    begin_line();
  }
  out += text;
  end_line();
  return out;
}

}  // namespace postfleet::ingress
