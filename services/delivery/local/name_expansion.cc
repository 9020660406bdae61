#include "services/delivery/local/name_expansion.h"

namespace postfleet::delivery {
namespace {

constexpr int kDepthMax = 100;

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

class Expander {
 public:
  Expander(const NameValue& value, const std::string* filter) : value_(value), filter_(filter) {}

  ExpandedNames Run(std::string_view text) {
    Expand(text, 0);
    return std::move(result_);
  }

 private:
  void Expand(std::string_view text, int depth) {
    if (depth > kDepthMax) result_.is_malformed = true;
    while (!text.empty() && !result_.is_malformed) {
      const size_t dollar = text.find('$');
      result_.text += text.substr(0, dollar);
      if (dollar == std::string_view::npos) return;
      text.remove_prefix(dollar + 1);
      if (text.starts_with('$')) {
        result_.text += '$';
        text.remove_prefix(1);
      } else if (text.starts_with('{') || text.starts_with('(')) {
        ExpandBraced(TakeBraced(&text), depth);
      } else {
        Use(TakeName(&text));
      }
    }
  }

  // "name", "name?text", "name:text".
  void ExpandBraced(std::string_view inner, int depth) {
    const std::string_view name = TakeName(&inner);
    if (result_.is_malformed) return;
    if (inner.empty()) return Use(name);
    const char kind = inner.front();
    inner.remove_prefix(1);
    if (kind != '?' && kind != ':') {
      result_.is_malformed = true;
      return;
    }
    std::string_view first = inner, second;
    if (inner.starts_with('{')) {
      first = TakeBraced(&inner);
      if (kind == '?' && inner.starts_with(":{")) {
        inner.remove_prefix(1);
        second = TakeBraced(&inner);
      }
      if (!inner.empty()) result_.is_malformed = true;
    }
    const std::optional<std::string> value = Ask(name);
    const bool is_defined = value && !value->empty();
    Expand(is_defined == (kind == '?') ? first : second, depth + 1);
  }

  std::string_view TakeName(std::string_view* text) {
    size_t size = 0;
    while (size < text->size() && IsNameCharacter((*text)[size])) ++size;
    if (size == 0) result_.is_malformed = true;
    const std::string_view name = text->substr(0, size);
    text->remove_prefix(size);
    return name;
  }

  // Between the bracket that `text` starts with and its closing one.
  std::string_view TakeBraced(std::string_view* text) {
    const char open = text->front();
    const char close = open == '{' ? '}' : ')';
    int depth = 0;
    for (size_t i = 0; i < text->size(); ++i) {
      if ((*text)[i] == open) ++depth;
      if ((*text)[i] != close || --depth > 0) continue;
      const std::string_view inner = text->substr(1, i - 1);
      text->remove_prefix(i + 1);
      return inner;
    }
    result_.is_malformed = true;
    *text = {};
    return {};
  }

  std::optional<std::string> Ask(std::string_view name) {
    std::optional<std::string> value = value_(name);
    if (value && name == "extension") result_.has_extension = true;
    return value;
  }

  void Use(std::string_view name) {
    if (result_.is_malformed) return;
    const std::optional<std::string> value = Ask(name);
    if (!value) {
      result_.has_undefined = true;
      return;
    }
    for (const char c : *value) {
      result_.text += filter_ == nullptr || filter_->find(c) != std::string::npos ? c : '_';
    }
  }

  const NameValue& value_;
  const std::string* const filter_;
  ExpandedNames result_;
};

}  // namespace

ExpandedNames ExpandNames(std::string_view text, const NameValue& value,
                          const std::string* filter) {
  return Expander(value, filter).Run(text);
}

}  // namespace postfleet::delivery
