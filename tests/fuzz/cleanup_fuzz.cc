// Cleanup at any split gives the same content, ends it with LF, leaves no CR where they are to go,
// and drops what is to be dropped; what it says of the content does not depend on the split either.
// With what is asked for mail of local origin, the message has the fields that it lacked.
//
// The first byte seeds the splits and the bound of a field, the second chooses options.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "libs/message/cleanup.h"
#include "libs/message/header.h"

namespace {

using postfleet::message::AddressRewriting;
using postfleet::message::Cleanup;
using postfleet::message::CleanupOptions;

void Check(bool holds) {
  if (!holds) std::abort();
}

struct Cleaned {
  std::string content;
  int hops = 0;
  bool header_8bit = false;
  bool body_8bit = false;
  bool says_8bit = false;
  bool cut = false;
  std::optional<postfleet::message::Defect> defect;
  std::string notes;
  friend bool operator==(const Cleaned&, const Cleaned&) = default;
};

// `in_place`: the body goes through FilterBody.
Cleaned Clean(const CleanupOptions& options, std::string_view in, size_t piece_bytes,
              bool in_place) {
  Cleanup cleanup(options, "Received: x\n");
  Cleaned cleaned;
  for (size_t at = 0; at < in.size(); at += piece_bytes) {
    std::string piece(in.substr(at, piece_bytes));
    if (in_place && cleanup.in_body()) {
      cleanup.FilterBody(piece.data(), piece.size());
      cleaned.content += piece;
    } else {
      cleanup.Append(piece, &cleaned.content);
    }
  }
  cleanup.Finish(&cleaned.content);
  Check(cleanup.output_bytes() == cleaned.content.size());
  cleaned.hops = cleanup.hop_count();
  cleaned.header_8bit = cleanup.header_has_8bit();
  cleaned.body_8bit = cleanup.body_has_8bit();
  cleaned.says_8bit = cleanup.says_8bit();
  cleaned.cut = cleanup.header_was_cut();
  cleaned.defect = cleanup.defect();
  for (const auto& note : cleanup.TakeNotes()) cleaned.notes += note.text + '\n';
  return cleaned;
}

CleanupOptions OptionsOf(uint8_t first, uint8_t second) {
  static const AddressRewriting rewriting{.origin = "origin.example", .append_dot_domain = true};
  CleanupOptions options{.header_bytes_max = first % 2 != 0 ? size_t{102'400} : size_t{32},
                         .hop_count_max = 3,
                         .replace_stray_cr = (second & 1) == 0};
  if ((second & 2) != 0) options.mailbox_lines = CleanupOptions::MailboxLines::kDelete;
  if ((second & 4) != 0) options.rewriting = &rewriting;
  if ((second & 8) != 0) {
    options.missing = {.queue_id = "4jX",
                       .myhostname = "mx.example",
                       .sender = (second & 16) != 0 ? "" : "\"a b\"@c",
                       .undisclosed_recipients = (second & 32) != 0 ? "" : "To: nobody:;",
                       .time = {.seconds = 1'800'000'000}};
  }
  if ((second & 64) != 0) {
    options.mime_limits = {.boundary_bytes_max = 8, .nesting_max = 1};
    options.refuse_header_8bit = options.refuse_body_8bit = options.refuse_encoding_domain = true;
    options.reject_bytes = "\x01z";
  }
  if ((second & 128) != 0) {
    options.strip_bytes = std::string("d\0", 2);
    options.mime = (second & 32) != 0;
  }
  return options;
}

void CheckHeader(const CleanupOptions& options, std::string_view content) {
  postfleet::message::HeaderReader reader(content);
  bool date = false;
  bool message_id = false;
  bool resent = false;
  while (reader.Next()) {
    const auto is = [&](std::string_view name) {
      return postfleet::message::EqualsIgnoreCase(reader.field().name, name);
    };
    Check(!is("bcc"));
    date |= is("date");
    message_id |= is("message-id");
    resent |= reader.field().name.size() > 6 &&
              postfleet::message::EqualsIgnoreCase(reader.field().name.substr(0, 7), "resent-");
  }
  // The header ends with an empty line, or with the message.
  Check(reader.offset() == content.size() || content[reader.offset()] == '\n');
  if (options.missing && !resent) Check(date && message_id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 2, size - 2);
  const CleanupOptions options = OptionsOf(data[0], data[1]);
  const Cleaned whole = Clean(options, in, in.size() + 1, false);
  Check(whole == Clean(options, in, 1 + data[0] % 9, false));
  Check(whole == Clean(options, in, 1 + data[0] % 9, true));
  Check(whole.content.back() == '\n');
  if (options.replace_stray_cr) Check(whole.content.find('\r') == std::string::npos);
  CheckHeader(options, whole.content);
  return 0;
}
