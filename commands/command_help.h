// What each command and program says of itself, as data (help_texts.inc): the text of --help and
// the manual page are made of the same words.
//
// The text of a command is lines of ASCII:
//
//   == Heading          opens a section; without one it is the description
//   -d ID :: text       an option (or a file, a word) and what it does; lines below belong to it
//   other lines         a paragraph; an empty line ends it
//
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace postfleet::commands {

struct CommandHelp {
  std::string_view name;
  int section;                // of the manual: 1, 5, 8
  std::string_view summary;   // "show and flush the queue", behind the name
  std::string_view synopsis;  // lines
  std::string_view text;
  std::string_view see_also;  // "postsuper(1), qshape(1)"
};

// Sorted by name.
absl::Span<const CommandHelp> AllCommandHelp();
const CommandHelp* FindCommandHelp(std::string_view name);

// For a terminal of 80 columns.
std::string FormatHelp(const CommandHelp& help);

// A source for man(1) with the macros of man(7).
std::string FormatManualPage(const CommandHelp& help);

// Pieces of such a source, for pages that are not of a command. Text is escaped.
std::string ManualTitle(std::string_view name, int section);
std::string ManualSection(std::string_view heading);
std::string ManualParagraph(std::string_view text);
std::string ManualItem(std::string_view term, std::string_view text);
// Lines as they are.
std::string ManualLiteral(std::string_view lines);

}  // namespace postfleet::commands
