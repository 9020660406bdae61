// Contents as mbox files and commands want them: lines changed on the way, piece by piece (what
// Postfix's delivery agents do while they copy a message).
//
//   quote_from   ">" in front of lines that begin with "From " (mbox, pipe's flag >)
//   quote_dot    "." in front of lines that begin with "." (pipe's flag .)
//   eol          what ends a line (pipe's eol=); the last line always gets it
//   blank_line   an empty line at the end (mbox, pipe's flag B)
//
// Memory: one piece more than the reader behind it. That one is asked once more after its end, and
// must say the end again.
#pragma once

#include <memory>
#include <string>

#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

struct LineChanges {
  bool quote_from = false;
  bool quote_dot = false;
  std::string eol = "\n";
  bool blank_line = false;
};

std::unique_ptr<ContentReader> ChangeLines(std::unique_ptr<ContentReader> contents,
                                           LineChanges changes);

// For an mbox, behind its "From " line and header.
inline std::unique_ptr<ContentReader> MboxContents(std::unique_ptr<ContentReader> contents) {
  return ChangeLines(std::move(contents), {.quote_from = true, .blank_line = true});
}

}  // namespace postfleet::delivery
