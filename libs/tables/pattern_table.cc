// regexp: and pcre: tables (regexp_table(5), pcre_table(5)).
//
//   [!]/pattern/flags value       the delimiter is any character that is no letter, digit or blank
//
// Letters match in both cases unless the flag `i` says otherwise. regexp knows the flags i, x, m;
// pcre knows i, m, s, x, A, E, U, X. In a value $1, ${1} and $(1) are what a group matched, $$ is a
// `$`; a negated pattern has no groups. A POSIX pattern is translated for PCRE; where several
// matches begin at one place, the first alternative is taken, not the longest.
//
// Patterns are the administrator's, keys are anybody's: a match ends after kStepsMax steps or
// kMemoryKib of memory, and the lookup fails (Unavailable).
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "libs/tables/rule_table.h"

namespace postfleet::tables {
namespace {

constexpr uint32_t kStepsMax = 1'000'000;
constexpr uint32_t kMemoryKib = 4096;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeConverted {
  void operator()(PCRE2_UCHAR* text) const { pcre2_converted_pattern_free(text); }
};

PCRE2_SPTR Units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

std::string ErrorText(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

pcre2_match_context* Limits() {
  static pcre2_match_context* const limits = [] {
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_set_match_limit(context, kStepsMax);
    pcre2_set_heap_limit(context, kMemoryKib);
    return context;
  }();
  return limits;
}

// A value in pieces: text, then what a group matched.
struct Piece {
  std::string text;
  std::optional<uint32_t> group;
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The number behind a `$`, taken from the front: 1, {1}, (1).
std::optional<uint32_t> TakeGroup(std::string_view* text) {
  constexpr size_t kDigitsMax = 4;
  std::string_view rest = *text;
  char close = 0;
  if (rest.starts_with('{') || rest.starts_with('(')) {
    close = rest.front() == '{' ? '}' : ')';
    rest.remove_prefix(1);
  }
  uint32_t number = 0;
  size_t digits = 0;
  while (digits < rest.size() && digits < kDigitsMax && IsDigit(rest[digits])) {
    number = number * 10 + static_cast<uint32_t>(rest[digits++] - '0');
  }
  rest.remove_prefix(digits);
  if (digits == 0 || (close != 0 && !rest.starts_with(close))) return std::nullopt;
  if (close != 0) rest.remove_prefix(1);
  *text = rest;
  return number;
}

absl::StatusOr<std::vector<Piece>> ParseValue(std::string_view value, uint32_t groups) {
  std::vector<Piece> pieces(1);
  while (!value.empty()) {
    const size_t dollar = value.find('$');
    pieces.back().text += value.substr(0, dollar);
    if (dollar == value.npos) break;
    value.remove_prefix(dollar + 1);
    if (value.starts_with('$')) {
      pieces.back().text += '$';
      value.remove_prefix(1);
      continue;
    }
    const std::optional<uint32_t> group = TakeGroup(&value);
    if (!group) return absl::InvalidArgumentError("malformed replacement: $ without a number");
    if (*group == 0 || *group > groups) {
      return absl::InvalidArgumentError(Concat("out of range replacement index \"", *group, "\""));
    }
    pieces.back().group = group;
    pieces.emplace_back();
  }
  return pieces;
}

// "/pattern/" from the front: a backslash before the delimiter, or anything, keeps it.
absl::StatusOr<std::string_view> TakeDelimited(std::string_view* text) {
  const char delimiter = text->empty() ? 0 : text->front();
  const bool letter = (delimiter | 0x20) >= 'a' && (delimiter | 0x20) <= 'z';
  if (delimiter == 0 || delimiter == '\\' || letter || IsDigit(delimiter)) {
    return absl::InvalidArgumentError(
        Concat("expected a pattern between delimiters, such as /pattern/: ", *text));
  }
  for (size_t i = 1; i < text->size(); ++i) {
    if ((*text)[i] == '\\') {
      ++i;
    } else if ((*text)[i] == delimiter) {
      const std::string_view pattern = text->substr(1, i - 1);
      text->remove_prefix(i + 1);
      return pattern;
    }
  }
  return absl::InvalidArgumentError(Concat("no closing delimiter \"", delimiter, "\""));
}

struct FlagRow {
  char letter;
  uint32_t option;
};
// A flag turns over what is the default: in the tables' patterns that is CASELESS and, of pcre,
// DOTALL.
constexpr FlagRow kPosixFlags[] = {{'i', PCRE2_CASELESS}, {'m', PCRE2_MULTILINE}, {'x', 0}};
constexpr FlagRow kPcreFlags[] = {{'i', PCRE2_CASELESS}, {'m', PCRE2_MULTILINE},
                                  {'s', PCRE2_DOTALL},   {'x', PCRE2_EXTENDED},
                                  {'A', PCRE2_ANCHORED}, {'E', PCRE2_DOLLAR_ENDONLY},
                                  {'U', PCRE2_UNGREEDY}, {'X', 0}};

class Expression {
 public:
  using Key = std::string_view;
  static std::optional<Key> KeyOf(std::string_view key) { return key; }

  absl::Status TakeValue(std::string_view value) {
    uint32_t groups = 0;
    pcre2_pattern_info(code_.get(), PCRE2_INFO_CAPTURECOUNT, &groups);
    if (negated_) groups = 0;
    absl::StatusOr<std::vector<Piece>> pieces = ParseValue(value, groups);
    if (!pieces.ok()) return pieces.status();
    value_ = *std::move(pieces);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Matches(Key key) {
    key_ = key;
    const int count =
        pcre2_match(code_.get(), Units(key), key.size(), 0, 0, found_.get(), Limits());
    if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
      return absl::UnavailableError(Concat("pattern \"", text_, "\": ", ErrorText(count)));
    }
    return (count > 0) != negated_;
  }

  bool has_substitution() const { return value_.size() > 1; }

  std::string Value() const {
    std::string value;
    const size_t* ends = pcre2_get_ovector_pointer(found_.get());
    for (const Piece& piece : value_) {
      value += piece.text;
      if (!piece.group) continue;
      const size_t start = ends[2 * *piece.group];
      const size_t end = ends[2 * *piece.group + 1];
      if (start != PCRE2_UNSET && start <= end) value += key_.substr(start, end - start);
    }
    return value;
  }

 protected:
  // Takes "[!]/pattern/flags"; `options` have the defaults of the table's type.
  template <size_t N>
  absl::Status Take(std::string_view* text, const FlagRow (&flags)[N], uint32_t* options) {
    while (text->starts_with('!')) {
      negated_ = !negated_;
      text->remove_prefix(1);
    }
    absl::StatusOr<std::string_view> pattern = TakeDelimited(text);
    if (!pattern.ok()) return pattern.status();
    text_ = *pattern;
    while (!text->empty() && text->front() != ' ' && text->front() != '\t') {
      const FlagRow* row =
          std::find_if(std::begin(flags), std::end(flags),
                       [&](const FlagRow& flag) { return flag.letter == text->front(); });
      if (row == std::end(flags)) {
        return absl::InvalidArgumentError(
            Concat("unknown regexp option \"", text->substr(0, 1), "\""));
      }
      if (row->letter == 'x') basic_ = !basic_;
      *options ^= row->option;
      text->remove_prefix(1);
    }
    return absl::OkStatus();
  }

  absl::Status Compile(std::string_view pattern, uint32_t options) {
    int error = 0;
    size_t place = 0;
    code_.reset(pcre2_compile(Units(pattern), pattern.size(), options, &error, &place, nullptr));
    if (code_ == nullptr) {
      return absl::InvalidArgumentError(
          Concat("error in pattern at offset ", place, ": ", ErrorText(error)));
    }
    // Without it (no such processor, no memory) matching is slower, and the same.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
    found_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    return absl::OkStatus();
  }

  const std::string& text() const { return text_; }
  bool basic() const { return basic_; }

 private:
  std::string text_;
  bool negated_ = false;
  bool basic_ = false;
  std::unique_ptr<pcre2_code, FreeCode> code_;
  std::unique_ptr<pcre2_match_data, FreeMatchData> found_;
  std::vector<Piece> value_;
  std::string_view key_;
};

class PcrePattern : public Expression {
 public:
  static absl::StatusOr<PcrePattern> Parse(std::string_view* text) {
    PcrePattern pattern;
    uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL;
    if (absl::Status status = pattern.Take(text, kPcreFlags, &options); !status.ok()) return status;
    // Keys are UTF-8, but what clients say need not be.
    options |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF;
    if (absl::Status status = pattern.Compile(pattern.text(), options); !status.ok()) return status;
    return pattern;
  }
};

class PosixPattern : public Expression {
 public:
  static absl::StatusOr<PosixPattern> Parse(std::string_view* text) {
    PosixPattern pattern;
    uint32_t options = PCRE2_CASELESS;
    if (absl::Status status = pattern.Take(text, kPosixFlags, &options); !status.ok())
      return status;
    const uint32_t syntax =
        pattern.basic() ? PCRE2_CONVERT_POSIX_BASIC : PCRE2_CONVERT_POSIX_EXTENDED;
    PCRE2_UCHAR* converted = nullptr;
    size_t size = 0;
    if (const int error = pcre2_pattern_convert(Units(pattern.text()), pattern.text().size(),
                                                syntax, &converted, &size, nullptr);
        error != 0) {
      return absl::InvalidArgumentError(
          Concat("error in pattern at offset ", size, ": ", ErrorText(error)));
    }
    const std::unique_ptr<PCRE2_UCHAR, FreeConverted> owned(converted);
    const std::string_view perl(reinterpret_cast<const char*>(converted), size);
    if (absl::Status status = pattern.Compile(perl, options); !status.ok()) return status;
    return pattern;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeRegexpTable(std::string name, std::string argument,
                                                       const OpenOptions& options) {
  return RuleTable<PosixPattern>::Make(std::move(name), std::move(argument), options);
}

absl::StatusOr<std::unique_ptr<Table>> MakePcreTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return RuleTable<PcrePattern>::Make(std::move(name), std::move(argument), options);
}

}  // namespace postfleet::tables
