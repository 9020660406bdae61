// Cuts a client's bytes into command lines (RFC 5321, 4.5.3.1.4). Lines end with CRLF, or a bare LF
// (noted: ingress decides by smtpd_forbid_bare_newline). With `normalize` one CR before the LF is
// taken off; without, all of them, as Postfix does.
//
// A line over `line_bytes_max` (line_length_limit, 2048) is cut there, the rest is skipped; after
// as many skipped bytes again without a line end the result is kFlood: the session must be closed.
// No copy when a whole line lies in the input.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::smtp {

inline constexpr size_t kLineBytesMaxDefault = 2048;

struct Line {
  std::string_view
      text;  // without its line end; valid until the next call, and as long as the input's bytes
  bool bare_lf = false;
  bool cut = false;  // was longer than line_bytes_max
};

class LineReader {
 public:
  enum Result { kNeedMore, kLine, kFlood };

  explicit LineReader(size_t line_bytes_max = kLineBytesMaxDefault, bool normalize = true)
      : line_bytes_max_(line_bytes_max), normalize_(normalize) {}

  // Takes bytes from the front of `in`: up to and with the first LF, or all of them.
  Result Next(std::string_view* in, Line* line);
  // Bytes of an unfinished line were seen.
  bool pending() const { return !handed_out_ && (!partial_.empty() || skipped_ != 0); }
  // Forgets an unfinished line: after STARTTLS (RFC 3207, 4.2: nothing from before may count).
  void Reset();
  // What comes is another client's, to whom another rule applies.
  void SetNormalize(bool normalize) { normalize_ = normalize; }

 private:
  const size_t line_bytes_max_;
  bool normalize_;
  std::string partial_;
  size_t skipped_ = 0;
  bool last_was_cr_ = false;
  bool handed_out_ = false;  // partial_ is the last line's text
};

}  // namespace postfleet::smtp
