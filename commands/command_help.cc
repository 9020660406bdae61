#include "commands/command_help.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "absl/functional/function_ref.h"
#include "libs/base/concat.h"
#include "libs/config/parameters.h"

namespace postfleet::commands {
namespace {

constexpr size_t kColumns = 80;
constexpr size_t kTermColumns = 20;

constexpr CommandHelp kHelp[] = {
#include "commands/help_texts.inc"
};

// One piece of a command's text.
struct Piece {
  enum class Kind { kHeading, kItem, kParagraph } kind = Kind::kParagraph;
  std::string term;  // of an item
  std::string text;  // one line, however long
};

std::string_view TakeLine(std::string_view* rest) {
  const size_t end = rest->find('\n');
  const std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end == rest->npos ? rest->size() : end + 1);
  return line;
}

void AddTo(std::string* text, std::string_view line) {
  ConcatTo(text, text->empty() ? "" : " ", line);
}

void ForEachPiece(std::string_view text, absl::FunctionRef<void(const Piece&)> visit) {
  Piece open;
  const auto close = [&] {
    if (!open.text.empty() || !open.term.empty()) visit(open);
    open = {};
  };
  while (!text.empty()) {
    const std::string_view line = TakeLine(&text);
    const size_t mark = line.find(" :: ");
    if (line.starts_with("== ")) {
      close();
      visit({Piece::Kind::kHeading, "", std::string(line.substr(3))});
    } else if (mark != line.npos) {
      close();
      open = {Piece::Kind::kItem, std::string(line.substr(0, mark)),
              std::string(line.substr(mark + 4))};
    } else if (line.empty()) {
      close();
    } else {
      AddTo(&open.text, line);
    }
  }
  close();
}

// Breaks at spaces; `first` is how far the line is already.
std::string Filled(std::string_view text, size_t indent, size_t first) {
  std::string out;
  size_t column = first;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    if (column > indent && column + 1 + word.size() > kColumns) {
      ConcatTo(&out, "\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string ItemForTerminal(const Piece& piece) {
  std::string out = Concat("  ", piece.term);
  if (out.size() + 2 > kTermColumns) {
    ConcatTo(&out, "\n", std::string(kTermColumns, ' '));
  } else {
    out.resize(kTermColumns, ' ');
  }
  return out + Filled(piece.text, kTermColumns, kTermColumns);
}

// roff reads \ everywhere, and . and ' at the start of a line; - is a hyphen unless escaped.
std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '\'') {
      out += "\\(aq";
    } else if (c == '`') {
      out += "\\(ga";
    } else if (c == '^') {
      out += "\\(ha";
    } else if (c == '~') {
      out += "\\(ti";
    } else {
      out += c;
    }
  }
  return out;
}

// Of a macro's argument in quotes.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : Escaped(text)) {
    if (c == '"') {
      out += "\\(dq";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string UpperCased(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

}  // namespace

absl::Span<const CommandHelp> AllCommandHelp() { return kHelp; }

const CommandHelp* FindCommandHelp(std::string_view name) {
  const auto* found = std::find_if(std::begin(kHelp), std::end(kHelp),
                                   [&](const CommandHelp& help) { return help.name == name; });
  return found == std::end(kHelp) ? nullptr : found;
}

std::string FormatHelp(const CommandHelp& help) {
  std::string out = Concat(help.name, ": ", help.summary, "\n\n");
  std::string_view synopsis = help.synopsis;
  std::string_view label = "usage: ";
  while (!synopsis.empty()) {
    ConcatTo(&out, label, TakeLine(&synopsis), "\n");
    label = "       ";
  }
  bool after_item = false;
  ForEachPiece(help.text, [&](const Piece& piece) {
    const bool is_item = piece.kind == Piece::Kind::kItem;
    if (!is_item || !after_item) out += "\n";
    after_item = is_item || piece.kind == Piece::Kind::kHeading;
    if (is_item) {
      out += ItemForTerminal(piece);
    } else if (piece.kind == Piece::Kind::kHeading) {
      ConcatTo(&out, piece.text, ":\n");
    } else {
      out += Filled(piece.text, 0, 0);
    }
  });
  if (!help.see_also.empty())
    ConcatTo(&out, "\n", Filled(Concat("See also: ", help.see_also), 0, 0));
  return out;
}

std::string ManualTitle(std::string_view name, int section) {
  return Concat(".TH ", Quoted(UpperCased(name)), " ", section, " \"\" ",
                Quoted(Concat("Postfleet ", config::kMailVersion)), "\n.ad l\n");
}

std::string ManualSection(std::string_view heading) {
  return Concat(".SH ", Quoted(UpperCased(heading)), "\n");
}

std::string ManualParagraph(std::string_view text) { return Concat(".PP\n", Escaped(text), "\n"); }

std::string ManualItem(std::string_view term, std::string_view text) {
  return Concat(".TP\n.B ", Quoted(term), "\n", Escaped(text), "\n");
}

std::string ManualLiteral(std::string_view lines) {
  return Concat(".nf\n", Escaped(lines), lines.ends_with('\n') ? "" : "\n", ".fi\n");
}

std::string FormatManualPage(const CommandHelp& help) {
  std::string out = ManualTitle(help.name, help.section);
  ConcatTo(&out, ManualSection("Name"), Escaped(Concat(help.name, " - ", help.summary)), "\n",
           ManualSection("Synopsis"), ManualLiteral(help.synopsis), ManualSection("Description"));
  ForEachPiece(help.text, [&](const Piece& piece) {
    out += piece.kind == Piece::Kind::kItem      ? ManualItem(piece.term, piece.text)
           : piece.kind == Piece::Kind::kHeading ? ManualSection(piece.text)
                                                 : ManualParagraph(piece.text);
  });
  if (!help.see_also.empty()) {
    ConcatTo(&out, ManualSection("See also"), Escaped(help.see_also), "\n");
  }
  return out;
}

}  // namespace postfleet::commands
