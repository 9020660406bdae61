// Tables whose rules are tried in order, and the first that matches gives the value: cidr, regexp,
// pcre. Internal to libs/tables.
//
//   pattern value         the value, if the pattern matches
//   if pattern ... endif  the rules between, if it matches; may be nested
// in logical lines of a file that is read again when it changes, or in place: type:{{rule},
// {rule}}.
//
// Unlike Postfix, which warns and goes on without it, a rule that cannot be read makes every lookup
// fail: a lost "reject" opens a door. In place it fails Open.
//
// A Pattern has
//   using Key = ...;
//   static std::optional<Key> KeyOf(std::string_view key)     nullopt: no rule matches such a key
//   static absl::StatusOr<Pattern> Parse(std::string_view* text)
//                                      takes the pattern from the front, up to its value
//   absl::Status TakeValue(std::string_view value)            of a rule that is no condition
//   absl::StatusOr<bool> Matches(const Key&)
//   std::string Value() const                                 of the match just made
//   bool has_substitution() const                             if values may have groups
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/logical_lines.h"
#include "libs/config/values.h"
#include "libs/tables/file_watch.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {

template <typename Pattern>
class RuleTable : public Table {
 public:
  static absl::StatusOr<std::unique_ptr<Table>> Make(std::string name, std::string argument,
                                                     const OpenOptions& options) {
    const bool in_place = argument.starts_with('{');
    std::unique_ptr<RuleTable> table(
        new RuleTable(std::move(name), in_place ? "" : argument, options));
    if (in_place) {
      if (absl::Status status = table->ReadInPlace(argument); !status.ok()) return status;
    }
    return table;
  }

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view text) override {
    if (!watch_.path().empty() && watch_.NeedsLoad()) Load();
    if (!failure_.ok()) return failure_;
    const std::optional<typename Pattern::Key> key = Pattern::KeyOf(text);
    if (!key) return std::nullopt;
    for (size_t i = 0; i < rules_.size(); ++i) {
      Rule& rule = rules_[i];
      if (rule.kind == Kind::kEndif) continue;
      absl::StatusOr<bool> matches = rule.pattern->Matches(*key);
      if (!matches.ok()) return LookupFailure(name(), TextOf(matches.status()));
      if (rule.kind == Kind::kIf && !*matches) i = rule.endif;
      if (rule.kind == Kind::kMatch && *matches) return rule.pattern->Value();
    }
    return std::nullopt;
  }

 private:
  enum class Kind { kMatch, kIf, kEndif };
  struct Rule {
    Kind kind = Kind::kMatch;
    std::optional<Pattern> pattern;  // none: kEndif
    size_t endif = 0;                // kIf: the rule to go on with if it does not hold
  };
  using Rules = std::vector<Rule>;
  static constexpr std::string_view kWhitespace = " \t\r\n";

  RuleTable(std::string name, std::string path, const OpenOptions& options)
      : Table(std::move(name), false),
        watch_(std::move(path), options.clock),
        allow_substitution_(options.allow_substitution) {}

  static std::string_view TextOf(const absl::Status& status) {
    return {status.message().data(), status.message().size()};
  }

  void Load() {
    absl::StatusOr<std::string> text = config::ReadFileText(watch_.path());
    absl::StatusOr<Rules> rules = Rules();
    if (text.ok()) rules = Parse(config::SplitLogicalLines(*text));
    const absl::Status& status = text.ok() ? rules.status() : text.status();
    watch_.Loaded(status.ok());
    failure_ = status.ok() ? absl::OkStatus() : LookupFailure(name(), TextOf(status));
    if (status.ok()) rules_ = *std::move(rules);
  }

  absl::Status ReadInPlace(const std::string& argument) {
    absl::StatusOr<std::string> inner = config::StripBraces(argument);
    std::vector<config::LogicalLine> lines;
    if (inner.ok()) {
      for (const std::string& item : config::SplitList(*inner)) {
        absl::StatusOr<std::string> rule = config::StripBraces(item);
        if (!rule.ok())
          return absl::InvalidArgumentError(Concat(name(), ": ", TextOf(rule.status())));
        const int number = static_cast<int>(lines.size()) + 1;
        lines.push_back({*std::move(rule), number, number});
      }
    }
    absl::StatusOr<Rules> rules = inner.ok() ? Parse(lines) : absl::StatusOr<Rules>(inner.status());
    if (!rules.ok())
      return absl::InvalidArgumentError(Concat(name(), ": ", TextOf(rules.status())));
    rules_ = *std::move(rules);
    return absl::OkStatus();
  }

  static void SkipWhitespace(std::string_view* text) {
    text->remove_prefix(std::min(text->size(), text->find_first_not_of(kWhitespace)));
  }

  // "if " or "endif" at the front.
  static bool TakeKeyword(std::string_view keyword, std::string_view* text) {
    const std::string_view word = text->substr(0, text->find_first_of(kWhitespace));
    if (word.size() != keyword.size()) return false;
    for (size_t i = 0; i < word.size(); ++i) {
      if ((word[i] | 0x20) != keyword[i]) return false;
    }
    text->remove_prefix(word.size());
    SkipWhitespace(text);
    return true;
  }

  absl::StatusOr<Rule> ParseRule(std::string_view text) const {
    Rule rule;
    SkipWhitespace(&text);
    if (TakeKeyword("endif", &text)) {
      rule.kind = Kind::kEndif;
      return rule;
    }
    if (TakeKeyword("if", &text)) rule.kind = Kind::kIf;
    absl::StatusOr<Pattern> pattern = Pattern::Parse(&text);
    if (!pattern.ok()) return pattern.status();
    rule.pattern = *std::move(pattern);
    SkipWhitespace(&text);
    if (rule.kind == Kind::kMatch) {
      if (text.empty()) return absl::InvalidArgumentError("no result for the pattern");
      if (absl::Status status = rule.pattern->TakeValue(text); !status.ok()) return status;
      if constexpr (requires { rule.pattern->has_substitution(); }) {
        if (!allow_substitution_ && rule.pattern->has_substitution()) {
          return absl::InvalidArgumentError("regular expression substitution is not allowed");
        }
      }
    } else if (!text.empty()) {
      return absl::InvalidArgumentError(Concat("text after the pattern of an if: ", text));
    }
    return rule;
  }

  absl::StatusOr<Rules> Parse(const std::vector<config::LogicalLine>& lines) const {
    Rules rules;
    std::vector<size_t> open;
    for (const config::LogicalLine& line : lines) {
      absl::StatusOr<Rule> rule = ParseRule(line.text);
      if (!rule.ok()) {
        return absl::InvalidArgumentError(
            Concat("line ", line.first_line, ": ", TextOf(rule.status())));
      }
      if (rule->kind == Kind::kIf) open.push_back(rules.size());
      if (rule->kind == Kind::kEndif) {
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

  FileWatch watch_;
  const bool allow_substitution_;
  Rules rules_;
  absl::Status failure_;
};

}  // namespace postfleet::tables
