#include "libs/tables/alias_source.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "libs/base/concat.h"
#include "libs/config/logical_lines.h"
#include "libs/mail/address.h"
#include "libs/mail/address_tokens.h"

namespace postfleet::tables {
namespace {

bool IsAt(const mail::AddressToken& token) { return token.IsOperator('@'); }
bool IsColon(const mail::AddressToken& token) { return token.IsOperator(':'); }

std::string Written(const mail::AddressTokens& tokens, bool quoted) {
  std::string text;
  mail::AppendAddressTokens(tokens, {.quoted = quoted}, &text);
  return text;
}

}  // namespace

std::vector<TextEntry> ParseAliasSource(std::string_view text, std::string_view source,
                                        std::string_view table, config::Diagnostics& diagnostics) {
  std::vector<TextEntry> entries;
  std::unordered_set<std::string> seen;
  for (const config::LogicalLine& line : config::SplitLogicalLines(text)) {
    const auto warn = [&](std::string_view what) {
      diagnostics.Warn(Concat(source, ", line ", line.last_line, ": ", what));
    };
    const mail::AddressTokens tokens = mail::TokenizeAddresses(line.text, 0);
    const auto colon = std::find_if(tokens.begin(), tokens.end(), IsColon);
    if (colon == tokens.begin() || colon == tokens.end() || colon + 1 == tokens.end()) {
      warn("need name:value pair");
      continue;
    }
    if (std::find_if(tokens.begin(), colon, IsAt) != colon) {
      warn("name must be local");
      continue;
    }
    TextEntry entry = {.key = Written({tokens.begin(), colon}, false),
                       .value = Written({colon + 1, tokens.end()}, true),
                       .line = line.first_line};
    // "" and the like: nothing could be found by it, or be delivered to.
    if (entry.key.empty() || entry.value.empty()) {
      warn("need name:value pair");
      continue;
    }
    mail::LowerCaseAscii(&entry.key);
    if (!seen.insert(entry.key).second) {
      diagnostics.Warn(Concat(table, ": duplicate entry: \"", entry.key, "\""));
      continue;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<TextEntry> AliasSignature(int64_t seconds, std::string_view host) {
  std::string time = Concat(seconds);
  if (time.size() < 10) time.insert(0, 10 - time.size(), '0');
  return {{.key = "@", .value = "@"},
          {.key = "YP_LAST_MODIFIED", .value = time},
          {.key = "YP_MASTER_NAME", .value = std::string(host)}};
}

}  // namespace postfleet::tables
