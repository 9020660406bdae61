#include "libs/tables/match_list.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/logical_lines.h"
#include "libs/config/values.h"

namespace postfleet::tables {
namespace {

constexpr int kFileDepthMax = 10;

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string Lower(std::string_view text) {
  return absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
}

// ".example.com" of "mail.example.com"; empty at the end.
std::string_view ParentWithDot(std::string_view name) {
  size_t dot = name.find('.', 1);
  return dot == name.npos ? std::string_view() : name.substr(dot);
}

}  // namespace

struct MatchList::Item {
  bool negated = false;
  std::unique_ptr<Table> table;              // type:table
  std::optional<config::IpNetwork> network;  // kHost
  std::string name;                          // lower case, else
};

// Turns text into items; files are read in place.
class MatchListParser {
 public:
  MatchListParser(const MatchListOptions& options, std::vector<MatchList::Item>& items)
      : options_(options), items_(items) {}

  absl::Status Add(std::string_view text, bool negated, int depth) {
    for (const std::string& word : config::SplitList(text)) {
      absl::Status status = AddItem(word, negated, depth);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status AddItem(std::string_view word, bool negated, int depth) {
    while (word.starts_with('!')) {
      negated = !negated;
      word.remove_prefix(1);
    }
    if (word.empty()) return absl::InvalidArgumentError("no pattern after '!'");
    if (word.starts_with('/')) return AddFile(std::string(word), negated, depth);
    MatchList::Item item;
    item.negated = negated;
    absl::Status status = LooksLikeTable(word) ? SetTable(word, item) : SetPattern(word, item);
    if (status.ok()) items_.push_back(std::move(item));
    return status;
  }

  absl::Status AddFile(const std::string& path, bool negated, int depth) {
    if (depth == kFileDepthMax) {
      return absl::InvalidArgumentError(Concat("files nest too deeply at ", path));
    }
    absl::StatusOr<std::string> text = config::ReadFileText(path);
    if (!text.ok()) return text.status();
    for (const config::LogicalLine& line : config::SplitLogicalLines(*text)) {
      absl::Status status = Add(line.text, negated, depth + 1);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status SetTable(std::string_view word, MatchList::Item& item) {
    absl::StatusOr<std::unique_ptr<Table>> table = OpenTable(word, options_.tables);
    if (!table.ok()) return table.status();
    item.table = *std::move(table);
    return absl::OkStatus();
  }

  absl::Status SetPattern(std::string_view word, MatchList::Item& item) {
    bool is_network =
        options_.kind == MatchKind::kHost && (word.find('/') != word.npos || word.front() == '[' ||
                                              config::IpAddress::Parse(word).has_value());
    if (!is_network) {
      item.name = Lower(word);
      return absl::OkStatus();
    }
    absl::StatusOr<config::IpNetwork> network = config::IpNetwork::Parse(word);
    if (!network.ok()) return network.status();
    item.network = *network;
    return absl::OkStatus();
  }

  const MatchListOptions& options_;
  std::vector<MatchList::Item>& items_;
};

namespace {

absl::StatusOr<bool> HasKey(Table& table, std::string_view key) {
  absl::StatusOr<std::optional<std::string>> found = table.Lookup(key);
  if (!found.ok()) return found.status();
  return found->has_value();
}

// The name, then its parents: as ".parent", or as "parent" where a parent matches its subdomains.
absl::StatusOr<bool> TableHasDomain(Table& table, std::string_view name, bool parents_plain) {
  std::string_view key = name;
  while (!key.empty()) {
    absl::StatusOr<bool> found = HasKey(table, key);
    if (!found.ok() || *found || !table.has_fixed_keys()) return found;
    key = ParentWithDot(key);
    if (parents_plain && !key.empty()) key.remove_prefix(1);
  }
  return false;
}

bool DomainMatches(std::string_view pattern, std::string_view name, bool parents_plain) {
  if (pattern == name) return true;
  if (name.size() <= pattern.size() || !name.ends_with(pattern)) return false;
  if (pattern.starts_with('.')) return !parents_plain;
  return parents_plain && name[name.size() - pattern.size() - 1] == '.';
}

}  // namespace

MatchList::MatchList() = default;
MatchList::~MatchList() = default;
MatchList::MatchList(MatchList&&) noexcept = default;
MatchList& MatchList::operator=(MatchList&&) noexcept = default;

absl::StatusOr<MatchList> MatchList::Open(std::string_view parameter, std::string_view value,
                                          const MatchListOptions& options) {
  MatchList list;
  list.parameter_ = parameter;
  list.options_ = options;
  absl::Status status = MatchListParser(options, list.items_).Add(value, false, 0);
  if (status.ok()) return list;
  return absl::InvalidArgumentError(Concat("parameter ", parameter, ": ", Text(status)));
}

bool MatchList::empty() const { return items_.empty(); }

absl::StatusOr<bool> MatchList::Matches(std::string_view name) {
  std::string folded = Lower(name);
  for (Item& item : items_) {
    absl::StatusOr<bool> matched = ItemMatches(item, folded);
    if (!matched.ok()) {
      return absl::UnavailableError(Concat(parameter_, ": ", Text(matched.status())));
    }
    if (*matched) return !item.negated;
  }
  return false;
}

absl::StatusOr<bool> MatchList::ItemMatches(Item& item, std::string_view name) const {
  bool domain_rules = options_.kind != MatchKind::kString;
  bool parents_plain = options_.parent_matches_subdomains;
  if (item.network) return false;
  if (item.table == nullptr) {
    return domain_rules ? DomainMatches(item.name, name, parents_plain) : item.name == name;
  }
  return domain_rules ? TableHasDomain(*item.table, name, parents_plain)
                      : HasKey(*item.table, name);
}

absl::StatusOr<bool> MatchList::MatchesHost(std::string_view name,
                                            const config::IpAddress& address) {
  std::string folded = Lower(name);
  for (Item& item : items_) {
    absl::StatusOr<bool> matched = item.network && item.network->Contains(address);
    if (!item.network) matched = ItemMatches(item, folded);
    if (matched.ok() && !*matched && item.table != nullptr) {
      matched = HasKey(*item.table, address.ToString());
    }
    if (!matched.ok()) {
      return absl::UnavailableError(Concat(parameter_, ": ", Text(matched.status())));
    }
    if (*matched) return !item.negated;
  }
  return false;
}

}  // namespace postfleet::tables
