#include "libs/config/expand.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

constexpr std::string_view kWhitespace = " \t\r\n";

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

void SkipSpace(std::string_view& text) {
  size_t start = text.find_first_not_of(kWhitespace);
  text.remove_prefix(start == std::string_view::npos ? text.size() : start);
}

std::string_view TakeName(std::string_view& text) {
  size_t size = 0;
  while (size < text.size() && IsNameCharacter(text[size])) ++size;
  std::string_view name = text.substr(0, size);
  text.remove_prefix(size);
  return name;
}

// `text` starts with an opening bracket: its contents, and text moves behind the closing one.
std::optional<std::string_view> TakeBalanced(std::string_view& text) {
  char open = text.front();
  char close = open == '{' ? '}' : ')';
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == open) ++depth;
    if (text[i] != close || --depth > 0) continue;
    std::string_view inner = text.substr(1, i - 1);
    text.remove_prefix(i + 1);
    return inner;
  }
  return std::nullopt;
}

absl::Status SyntaxError(std::string_view what, std::string_view whole, std::string_view rest) {
  return absl::InvalidArgumentError(
      Concat(what, " at: \"...", whole.substr(0, whole.size() - rest.size()), ">>>", rest, "\""));
}

// What follows the condition: "?a", "?{a}:{b}", ":b".
struct Branches {
  std::optional<std::string_view> if_true;
  std::optional<std::string_view> if_false;
};

// Text after ? or :, in braces or up to the end.
absl::StatusOr<std::string_view> TakeBranch(std::string_view& text, std::string_view whole) {
  std::string_view rest = text;
  SkipSpace(rest);
  if (rest.empty() || rest.front() != '{') return std::exchange(text, std::string_view());
  text = rest;
  std::optional<std::string_view> branch = TakeBalanced(text);
  if (!branch) return SyntaxError("unbalanced {}", whole, rest);
  SkipSpace(text);
  return *branch;
}

absl::StatusOr<Branches> ParseBranches(std::string_view text, std::string_view whole) {
  Branches branches;
  SkipSpace(text);
  if (!text.empty() && text.front() == '?') {
    text.remove_prefix(1);
    absl::StatusOr<std::string_view> branch = TakeBranch(text, whole);
    if (!branch.ok()) return branch.status();
    branches.if_true = *branch;
    if (text.empty()) return branches;
    if (text.front() != ':') return SyntaxError("\":\" expected", whole, text);
  }
  if (!text.empty() && text.front() == ':') {
    text.remove_prefix(1);
    absl::StatusOr<std::string_view> branch = TakeBranch(text, whole);
    if (!branch.ok()) return branch.status();
    branches.if_false = *branch;
  }
  if (!text.empty()) return SyntaxError("attribute name syntax error", whole, text);
  return branches;
}

// Relations. Each holds for some of less (-1), equal (0) and greater (1).

struct Relation {
  std::string_view sign;
  bool less, equal, greater;
};
constexpr std::array<Relation, 6> kRelations = {{{"==", false, true, false},
                                                 {"!=", true, false, true},
                                                 {"<=", true, true, false},
                                                 {">=", false, true, true},
                                                 {"<", true, false, false},
                                                 {">", false, false, true}}};

bool Holds(const Relation& relation, int order) {
  if (order < 0) return relation.less;
  return order == 0 ? relation.equal : relation.greater;
}

bool AllDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

int CompareNumbers(std::string_view a, std::string_view b) {
  auto strip = [](std::string_view& text) {
    while (text.size() > 1 && text.front() == '0') text.remove_prefix(1);
  };
  strip(a);
  strip(b);
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.compare(b);
}

absl::StatusOr<std::array<int, 3>> ParseLevel(std::string_view text) {
  std::array<int, 3> level{};
  size_t part = 0;
  std::string_view rest = text;
  for (;;) {
    std::string_view digits = rest.substr(0, rest.find('.'));
    if (!AllDigits(digits) || digits.size() > 8 || part == level.size()) {
      return absl::InvalidArgumentError(
          Concat("malformed compatibility level syntax: \"", text, "\""));
    }
    level[part++] = std::atoi(std::string(digits).c_str());
    if (digits.size() == rest.size()) return level;
    rest.remove_prefix(digits.size() + 1);
  }
}

absl::StatusOr<int> CompareLevels(std::string_view a, std::string_view b) {
  absl::StatusOr<std::array<int, 3>> left = ParseLevel(a), right = ParseLevel(b);
  if (!left.ok()) return left.status();
  if (!right.ok()) return right.status();
  if (*left == *right) return 0;
  return *left < *right ? -1 : 1;
}

int CompareValues(const std::string& a, const std::string& b) {
  return AllDigits(a) && AllDigits(b) ? CompareNumbers(a, b) : a.compare(b);
}

class Expander {
 public:
  explicit Expander(const ValueLookup& lookup) : lookup_(lookup) {}

  absl::Status Append(std::string_view text, std::string& out) {
    if (++depth_ > kExpansionDepthMax) {
      return absl::InvalidArgumentError(
          Concat("unreasonable macro call nesting: \"", text.substr(0, 100), "\""));
    }
    absl::Status status = AppendPieces(text, out);
    --depth_;
    return status;
  }

 private:
  absl::Status AppendPieces(std::string_view text, std::string& out) {
    const std::string_view whole = text;
    for (;;) {
      size_t dollar = text.find('$');
      out.append(text.substr(0, dollar));
      if (dollar == std::string_view::npos) return absl::OkStatus();
      text.remove_prefix(dollar + 1);
      if (!text.empty() && text.front() == '$') {
        out.push_back('$');
        text.remove_prefix(1);
        continue;
      }
      absl::Status status = AppendReference(text, whole, out);
      if (!status.ok()) return status;
    }
  }

  absl::Status AppendReference(std::string_view& text, std::string_view whole, std::string& out) {
    if (text.empty() || (text.front() != '{' && text.front() != '(')) {
      std::string_view name = TakeName(text);
      if (name.empty()) return EmptyName(whole);
      return AppendValue(name, out);
    }
    std::optional<std::string_view> inner = TakeBalanced(text);
    if (!inner) {
      return absl::InvalidArgumentError(Concat("truncated macro reference: \"", whole, "\""));
    }
    std::string_view start = *inner;
    SkipSpace(start);
    if (start.empty()) return EmptyName(whole);
    return start.front() == '{' ? AppendComparison(start, out) : AppendNamed(start, out);
  }

  static absl::Status EmptyName(std::string_view whole) {
    return absl::InvalidArgumentError(Concat("empty macro name: \"", whole, "\""));
  }

  absl::Status AppendValue(std::string_view name, std::string& out) {
    std::optional<std::string_view> value = lookup_(name);
    return value ? Append(*value, out) : absl::OkStatus();
  }

  // "name", "name?text", "name:text", "name?{a}:{b}"
  absl::Status AppendNamed(std::string_view text, std::string& out) {
    const std::string_view whole = text;
    std::string_view name = TakeName(text);
    if (name.empty()) return SyntaxError("attribute name syntax error", whole, text);
    SkipSpace(text);
    if (text.empty()) return AppendValue(name, out);
    absl::StatusOr<Branches> branches = ParseBranches(text, whole);
    if (!branches.ok()) return branches.status();
    // As in Postfix, the value before its own expansion decides.
    std::optional<std::string_view> value = lookup_(name);
    return AppendBranch(*branches, value && !value->empty(), out);
  }

  absl::Status AppendBranch(const Branches& branches, bool condition, std::string& out) {
    const std::optional<std::string_view>& branch =
        condition ? branches.if_true : branches.if_false;
    return branch ? Append(*branch, out) : absl::OkStatus();
  }

  // "{x} == {y} ? {a} : {b}"
  absl::Status AppendComparison(std::string_view text, std::string& out) {
    const std::string_view whole = text;
    std::string left, right;
    absl::Status status = TakeOperand(text, whole, left);
    if (!status.ok()) return status;
    const Relation* relation = TakeRelation(text);
    if (relation == nullptr) {
      return SyntaxError("\"==\" or \"!=\" or \"<\" or \"<=\" or \">=\" or \">\" expected", whole,
                         text);
    }
    bool levels = text.starts_with("level");
    if (levels) text.remove_prefix(5);
    status = TakeOperand(text, whole, right);
    if (!status.ok()) return status;
    int order = 0;
    if (levels) {
      absl::StatusOr<int> compared = CompareLevels(left, right);
      if (!compared.ok()) return compared.status();
      order = *compared;
    } else {
      order = CompareValues(left, right);
    }
    return AppendVerdict(Holds(*relation, order), text, whole, out);
  }

  absl::Status AppendVerdict(bool holds, std::string_view text, std::string_view whole,
                             std::string& out) {
    SkipSpace(text);
    if (text.empty()) {
      if (holds) out.append("true");
      return absl::OkStatus();
    }
    absl::StatusOr<Branches> branches = ParseBranches(text, whole);
    return branches.ok() ? AppendBranch(*branches, holds, out) : branches.status();
  }

  absl::Status TakeOperand(std::string_view& text, std::string_view whole, std::string& out) {
    SkipSpace(text);
    std::string_view before = text;
    if (text.empty() || text.front() != '{') return SyntaxError("\"{\" expected", whole, text);
    std::optional<std::string_view> operand = TakeBalanced(text);
    if (!operand) return SyntaxError("unbalanced {}", whole, before);
    return Append(*operand, out);
  }

  static const Relation* TakeRelation(std::string_view& text) {
    SkipSpace(text);
    for (const Relation& relation : kRelations) {
      if (!text.starts_with(relation.sign)) continue;
      std::string_view rest = text.substr(relation.sign.size());
      if (!rest.empty() && rest.front() == '=') return nullptr;
      text = rest;
      return &relation;
    }
    return nullptr;
  }

  const ValueLookup& lookup_;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<std::string> ExpandValue(std::string_view text, const ValueLookup& lookup) {
  std::string out;
  absl::Status status = Expander(lookup).Append(text, out);
  if (!status.ok()) return status;
  return out;
}

void CollectReferences(std::string_view text,
                       const std::function<void(std::string_view name)>& found) {
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at)) {
    ++at;
    if (at < text.size() && text[at] == '$') {
      ++at;
      continue;
    }
    std::string_view rest = text.substr(at);
    if (!rest.empty() && (rest.front() == '{' || rest.front() == '(')) rest.remove_prefix(1);
    SkipSpace(rest);
    std::string_view name = TakeName(rest);
    if (!name.empty()) found(name);
  }
}

}  // namespace postfleet::config
