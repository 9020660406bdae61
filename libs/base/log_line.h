// One line of the mail log, made once for both of its forms.
//
//   Line line("", Fact("queue_id", id), ": removed", Event("removed"));
//
// In Postfix's form a line is its text, "4jX…: removed". As JSON it is its facts,
// "queue_id":"4jX…", "event":"removed"; a line without an event is free text and has "message" too.
// A fact's value is what stands in the text, so the two forms cannot differ. Facts are kept only
// when the log wants them (KeepFacts): in Postfix's form they cost nothing.
//
// Names of facts are literals, are those of Postfix's words (to, orig_to, relay, delay, dsn, …) and
// need no escapes. A value is untrusted bytes: whoever writes the line cleans it (log_text.h).
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/concat.h"

namespace postfleet::maillog {

// Part of a line with a name of its own. Integers are numbers in JSON, all else is a string.
template <typename Value>
struct Fact {
  constexpr Fact(std::string_view name, const Value& value) : name(name), value(value) {}
  std::string_view name;
  const Value& value;
};

// As Fact, of digits and at most one point: a number in JSON.
struct NumberText {
  std::string_view name;
  std::string_view value;
};

// What happened, for JSON only: no text. A literal.
struct Event {
  constexpr explicit Event(std::string_view name) : name(name) {}
  std::string_view name;
};

// Lines that are made from now on carry their facts, or do not.
inline std::atomic<bool>& FactsAreKept() {
  static std::atomic<bool> kept = false;
  return kept;
}
inline void KeepFacts(bool keep) { FactsAreKept().store(keep, std::memory_order_relaxed); }

class Line {
 public:
  struct Span {
    std::string_view name;
    uint32_t begin = 0;  // in the text
    uint32_t end = 0;
    bool number = false;
  };

  Line() = default;
  // Without facts. Implicit: most lines are plain text.
  Line(std::string text) : text_(std::move(text)) {}
  Line(const char* text) : text_(text) {}

  template <typename... Parts>
  static Line Of(const Parts&... parts) {
    Line line;
    line.Add(parts...);
    return line;
  }

  template <typename... Parts>
  Line& Add(const Parts&... parts) {
    (Append(parts), ...);
    return *this;
  }

  const std::string& text() const { return text_; }
  std::string_view event() const { return event_; }  // empty: none
  const std::vector<Span>& facts() const { return facts_; }
  std::string_view ValueOf(const Span& span) const {
    return std::string_view(text_).substr(span.begin, span.end - span.begin);
  }

  friend bool operator==(const Line& line, std::string_view text) { return line.text_ == text; }
  template <typename Stream>
  friend Stream& operator<<(Stream& stream, const Line& line) {
    stream << line.text_;
    return stream;
  }

 private:
  template <typename Part>
  void Append(const Part& part) {
    AppendPart(&text_, part);
  }
  template <typename Value>
  void Append(const Fact<Value>& fact) {
    const size_t begin = text_.size();
    AppendPart(&text_, fact.value);
    Keep(fact.name, begin, std::integral<Value>);
  }
  void Append(const NumberText& fact) {
    const size_t begin = text_.size();
    text_.append(fact.value);
    Keep(fact.name, begin, true);
  }
  void Append(const Event& event) { event_ = event.name; }
  void Append(const Line& line) {
    for (const Span& span : line.facts_) {
      facts_.push_back(span);
      facts_.back().begin += static_cast<uint32_t>(text_.size());
      facts_.back().end += static_cast<uint32_t>(text_.size());
    }
    text_ += line.text_;
    if (!line.event_.empty()) event_ = line.event_;
  }
  void Keep(std::string_view name, size_t begin, bool number) {
    if (!FactsAreKept().load(std::memory_order_relaxed)) return;
    constexpr size_t kUsual = 12;
    if (facts_.empty()) facts_.reserve(kUsual);
    facts_.push_back(
        {name, static_cast<uint32_t>(begin), static_cast<uint32_t>(text_.size()), number});
  }

  std::string text_;
  std::vector<Span> facts_;
  std::string_view event_;
};

}  // namespace postfleet::maillog
