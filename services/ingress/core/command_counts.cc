#include "services/ingress/core/command_counts.h"

#include <string_view>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

using smtp::Verb;

struct Column {
  Verb verb;
  std::string_view name;
};
constexpr Column kColumns[] = {
    {Verb::kHelo, "helo"},         {Verb::kEhlo, "ehlo"},         {Verb::kXclient, "xclient"},
    {Verb::kXforward, "xforward"}, {Verb::kStarttls, "starttls"}, {Verb::kAuth, "auth"},
    {Verb::kMail, "mail"},         {Verb::kRcpt, "rcpt"},         {Verb::kData, "data"},
    {Verb::kBdat, "bdat"},         {Verb::kRset, "rset"},         {Verb::kNoop, "noop"},
    {Verb::kVrfy, "vrfy"},         {Verb::kEtrn, "etrn"},         {Verb::kQuit, "quit"},
    {Verb::kHelp, "help"},         {Verb::kUnknown, "unknown"},
};

void AppendCount(std::string_view name, uint32_t good, uint32_t total, std::string* text) {
  ConcatTo(text, ' ', name, '=', good);
  if (good != total) ConcatTo(text, '/', total);
}

}  // namespace

void CommandCounts::AppendTo(std::string* text) const {
  uint32_t all_good = 0;
  uint32_t all = 0;
  for (const Column& column : kColumns) {
    if (total(column.verb) == 0) continue;
    AppendCount(column.name, good(column.verb), total(column.verb), text);
    all_good += good(column.verb);
    all += total(column.verb);
  }
  AppendCount("commands", all_good, all, text);
  if (all == 0) *text += "/0";
}

}  // namespace postfleet::ingress
