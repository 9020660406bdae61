// DATA on the sending side (RFC 5321, 4.5.2): stored content (lines ended by LF) to what goes over
// the wire.
//
// LF becomes CRLF, a line that starts with a dot gets another, and after each `line_bytes_max`
// bytes of a line (smtp_line_length_limit, 998; 0 = never) CRLF and a blank are put in, header and
// body alike; the dot of stuffing is not counted: 2500 -> 998, 1+997, 1+505. A CR in the content
// passes as it is. Content without a final LF gets a line end before the final dot. Conversion of
// 8-bit content to quoted-printable is not done here.
//
// Incremental: any split of the input and any output size of at least kOutBytesMin; works on spans
// (memchr, memcpy).
#pragma once

#include <cstddef>
#include <string_view>

namespace postfleet::smtp {

inline constexpr size_t kSmtpLineBytesMaxDefault = 998;

class DataWriter {
 public:
  static constexpr size_t kOutBytesMin = 16;

  explicit DataWriter(size_t line_bytes_max = kSmtpLineBytesMaxDefault)
      :  // A limit of 1 has no room for a byte behind the blank.
        line_bytes_max_(line_bytes_max == 1 ? 2 : line_bytes_max) {}

  struct Progress {
    size_t consumed = 0;  // of `in`; less than all: `out` is full
    size_t produced = 0;
  };
  // Progress is made in every call (out_size >= kOutBytesMin and `in` not empty).
  Progress Write(std::string_view in, char* out, size_t out_size);
  // Behind the last Write: the missing line end, if any, and ".\r\n". Needs kOutBytesMin; returns
  // the bytes written.
  size_t Finish(char* out);
  // Without the dot, for BDAT: only the missing line end.
  size_t FinishWithoutDot(char* out);

  // A writer for BDAT stuffs no dots.
  void set_dot_stuffing(bool on) { dot_stuffing_ = on; }
  void Reset() {
    column_ = 0;
    at_start_ = true;
  }

 private:
  const size_t line_bytes_max_;
  size_t column_ = 0;  // bytes of the output line, without the dot of stuffing
  bool at_start_ = true;
  bool dot_stuffing_ = true;
};

}  // namespace postfleet::smtp
