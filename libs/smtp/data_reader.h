// DATA on the receiving side (RFC 5321, 4.5.2; Postfix 3.9, smtpd_forbid_bare_newline): turns
// socket bytes into content lines.
//
// Stored form: every line ends with one LF, as in Postfix's queue: CRLF becomes LF, dots of
// stuffing are gone. So a body is kept byte for byte, line ends aside, and DataWriter gives back
// what came. A CR that does not end a line stays in the output: cleanup.h
// (cleanup_replace_stray_cr_lf) makes a blank of it. NULs and bytes over 127 pass.
//
// Line ends by mode:
//   kNormalize  LF and CRLF end a line; only CRLF.CRLF ends DATA. A lone "." whose own or preceding
//   line ended in a bare LF is dropped,
//               reading goes on. Only one CR is part of a line end: CR CR LF leaves a CR.
//   kReject     the same, and ingress answers 550 5.5.2 at the end (saw_bare_lf()).
//   kNote       the same, and ingress logs it.
//   kNo         old behaviour: LF alone ends lines and LF.LF ends DATA; all CRs before the LF go
//   away. Smuggles.
//
// Works on spans (memchr for LF, one memcpy a line) and at any split of the input. Bounded: keeps a
// few flags, never bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "libs/smtp/line_reader.h"

namespace postfleet::smtp {

enum class BareNewline { kNormalize, kNo, kReject, kNote };

// "normalize" and "yes", "no", "reject", "note", in any case; false: none of these.
bool ParseBareNewline(std::string_view value, BareNewline* mode);

class DataReader {
 public:
  // Output can be this much longer than the input of one call: a CR that was held back.
  static constexpr size_t kHeldBytesMax = 4;

  enum class Framing {
    kData,   // dots, ends with CRLF.CRLF
    kChunk,  // BDAT (RFC 3030): no dots; the caller counts bytes and calls FinishChunks after the
             // last one
  };

  // `line_bytes_max`: of a piece of a line, for wire_bytes().
  explicit DataReader(BareNewline mode = BareNewline::kNormalize, Framing framing = Framing::kData,
                      size_t line_bytes_max = kLineBytesMaxDefault)
      : mode_(mode), framing_(framing), line_bytes_max_(line_bytes_max > 0 ? line_bytes_max : 1) {}

  struct Progress {
    size_t consumed = 0;  // of `in`; the rest belongs to the next command, or waits for room
    size_t produced = 0;  // written to `out`
  };
  // `out_size` must be greater than kHeldBytesMax. Takes at most `out_size - kHeldBytesMax` bytes
  // of `in` (so out_size must be greater than kHeldBytesMax) and writes content to `out`. Stops
  // right behind the end of DATA.
  Progress Read(std::string_view in, char* out, size_t out_size);

  // The end was seen; Read must not be called again before Reset.
  bool done() const { return done_; }
  // A bare LF was seen (never with kNo).
  bool saw_bare_lf() const { return saw_bare_lf_; }
  // Bytes given out so far. Size limits are the caller's: go on reading, throw away.
  uint64_t content_bytes() const { return content_bytes_; }
  // The same with each line ended by CRLF, and each full piece of a longer line, too: how Postfix,
  // which reads long lines in pieces of line_length_limit, counts.
  uint64_t wire_bytes() const { return content_bytes_ + lines_ + 2 * line_pieces_; }
  // kChunk only: gives out what was held back and ends an unfinished last line. At most
  // kHeldBytesMax bytes; sets done().
  size_t FinishChunks(char* out);

  void Reset();

 private:
  // What of the current line has been seen, held CRs aside.
  enum class At { kStart, kDot, kMiddle };

  void CountInLine(size_t bytes);
  size_t TakeSpan(std::string_view in, char* out, size_t* produced);
  bool EndLine(char* out, size_t* produced);
  bool standard_end() const { return mode_ != BareNewline::kNo; }

  const BareNewline mode_;
  const Framing framing_;
  const size_t line_bytes_max_;
  At at_ = At::kStart;
  size_t held_crs_ = 0;            // CRs last seen: part of a line end, if an LF follows
  size_t released_crs_ = 0;        // CRs that turned out to be content, and wait for room
  bool previous_bare_lf_ = false;  // the line before ended in a bare LF
  bool done_ = false;
  bool saw_bare_lf_ = false;
  uint64_t content_bytes_ = 0;
  uint64_t lines_ = 0;
  uint64_t line_pieces_ = 0;
  size_t piece_bytes_ = 0;  // of the current line, since its last full piece
};

}  // namespace postfleet::smtp
