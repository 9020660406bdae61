// cidr: tables (cidr_table(5)): the first pattern that holds the address gives the value.
//
// Unlike Postfix, which warns and goes on without it, a line that cannot be read makes every lookup
// fail: a lost "reject" opens a door.
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/ip_network.h"
#include "libs/config/logical_lines.h"
#include "libs/tables/file_watch.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

using config::IpAddress;
using config::IpNetwork;

constexpr std::string_view kWhitespace = " \t\r\n";

struct Rule {
  enum class Kind { kMatch, kIf, kEndif };
  Kind kind = Kind::kMatch;
  bool negated = false;
  IpNetwork network{IpAddress(), 0};
  std::string value;
  size_t endif = 0;  // kIf: the rule to go on with if it does not hold

  bool Holds(const IpAddress& address) const { return network.Contains(address) != negated; }
};

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string_view TakeWord(std::string_view& text) {
  size_t end = text.find_first_of(kWhitespace);
  std::string_view word = text.substr(0, end);
  text.remove_prefix(word.size());
  size_t next = text.find_first_not_of(kWhitespace);
  text.remove_prefix(next == text.npos ? text.size() : next);
  return word;
}

absl::StatusOr<Rule> ParseRule(std::string_view text) {
  Rule rule;
  std::string_view word = TakeWord(text);
  if (word == "endif" || word == "ENDIF") {
    rule.kind = Rule::Kind::kEndif;
    return rule;
  }
  if (word == "if" || word == "IF") {
    rule.kind = Rule::Kind::kIf;
    word = TakeWord(text);
  }
  if (word.starts_with('!')) {
    rule.negated = true;
    word.remove_prefix(1);
  }
  absl::StatusOr<IpNetwork> network = IpNetwork::Parse(word);
  if (!network.ok()) return network.status();
  rule.network = *network;
  rule.value = text;
  if (rule.kind == Rule::Kind::kMatch && rule.value.empty()) {
    return absl::InvalidArgumentError("no result for the pattern");
  }
  return rule;
}

absl::StatusOr<std::vector<Rule>> ParseRules(std::string_view text) {
  std::vector<Rule> rules;
  std::vector<size_t> open;
  for (const config::LogicalLine& line : config::SplitLogicalLines(text)) {
    absl::StatusOr<Rule> rule = ParseRule(line.text);
    if (!rule.ok()) {
      return absl::InvalidArgumentError(
          Concat("line ", line.first_line, ": ", Text(rule.status())));
    }
    if (rule->kind == Rule::Kind::kIf) open.push_back(rules.size());
    if (rule->kind == Rule::Kind::kEndif) {
      if (open.empty()) {
        return absl::InvalidArgumentError(Concat("line ", line.first_line, ": endif without if"));
      }
      rules[open.back()].endif = rules.size();
      open.pop_back();
    }
    rules.push_back(*std::move(rule));
  }
  if (!open.empty()) return absl::InvalidArgumentError("if without endif");
  return rules;
}

class CidrTable : public Table {
 public:
  CidrTable(std::string name, std::string path, const Clock* clock)
      : Table(std::move(name), false), watch_(std::move(path), clock) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    if (watch_.NeedsLoad()) Load();
    if (!failure_.ok()) return failure_;
    std::optional<IpAddress> address = IpAddress::Parse(key);
    if (!address) return std::nullopt;
    for (size_t i = 0; i < rules_.size(); ++i) {
      const Rule& rule = rules_[i];
      if (rule.kind == Rule::Kind::kIf && !rule.Holds(*address)) i = rule.endif;
      if (rule.kind == Rule::Kind::kMatch && rule.Holds(*address)) return rule.value;
    }
    return std::nullopt;
  }

 private:
  void Load() {
    absl::StatusOr<std::string> text = config::ReadFileText(watch_.path());
    absl::StatusOr<std::vector<Rule>> rules = std::vector<Rule>();
    if (text.ok()) rules = ParseRules(*text);
    const absl::Status& status = text.ok() ? rules.status() : text.status();
    watch_.Loaded(status.ok());
    failure_ = status.ok() ? absl::OkStatus() : LookupFailure(name(), Text(status));
    if (status.ok()) rules_ = *std::move(rules);
  }

  FileWatch watch_;
  std::vector<Rule> rules_;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeCidrTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return std::make_unique<CidrTable>(std::move(name), std::move(argument), options.clock);
}

}  // namespace postfleet::tables
