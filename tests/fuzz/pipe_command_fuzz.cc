// What strangers give to a command: addresses become words of it, contents its input; and what it
// says in return.
//
// However an address looks, it is as many words as it was asked for, unchanged, and fails never.
// Contents that come in other pieces give the same lines. Output is a line of printable ASCII, and
// no mail is sent that a command has failed for.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/mail/address.h"
#include "services/delivery/core/command_line.h"
#include "services/delivery/core/command_outcome.h"
#include "services/delivery/core/mbox_contents.h"
#include "services/delivery/pipe/command_words.h"

namespace {

using namespace postfleet::delivery;  // NOLINT: a program of one file

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckWords(const std::string& address, uint8_t bits) {
  postfleet::mail::v1::Envelope envelope;
  postfleet::mail::v1::Recipient first, second;
  first.set_address(address);
  second.set_address("other+ext@x.example");
  const WordFacts facts = {.envelope = envelope,
                           .sender = address,
                           .nexthop = address,
                           .queue_id = "4abc",
                           .recipients = {&first, &second}};
  const WordRules rules = {.quote_local_part = (bits & 1) != 0,
                           .fold_user = (bits & 2) != 0,
                           .fold_host = (bits & 4) != 0,
                           .recipient_delimiter = (bits & 8) != 0 ? "+-" : ""};
  const auto argv =
      ExpandWords({"/bin/x", "$sender", "a${recipient}b", "$extension", "$domain"}, rules, facts);
  Check(argv.ok() && argv->size() == 2 + 3 * 2);
  if ((bits & 7) != 0) return;
  Check((*argv)[1] == postfleet::mail::SplitAddress(address).ToString());
  Check((*argv)[2] == "a" + (*argv)[1] + "b");
}

class Pieces : public ContentReader {
 public:
  Pieces(std::string_view text, size_t piece) : text_(text), piece_(piece) {}
  void Next(Done done) override {
    const std::string_view piece = text_.substr(0, piece_);
    text_.remove_prefix(piece.size());
    postfleet::rpc::Payload payload;
    if (!piece.empty()) payload = {postfleet::rpc::OwningSlice(std::string(piece))};
    done(absl::OkStatus(), std::move(payload));
  }

 private:
  std::string_view text_;
  const size_t piece_;
};

std::string Changed(std::string_view text, size_t piece, const LineChanges& changes) {
  const auto reader = ChangeLines(std::make_unique<Pieces>(text, piece), changes);
  std::string all;
  for (bool over = false; !over;) {
    reader->Next([&](const absl::Status&, const postfleet::rpc::Payload& payload) {
      over = payload.empty();
      for (const grpc::Slice& slice : payload) all += postfleet::rpc::AsView(slice);
    });
  }
  return all;
}

void CheckContents(std::string_view text, uint8_t bits) {
  const LineChanges changes = {.quote_from = (bits & 1) != 0,
                               .quote_dot = (bits & 2) != 0,
                               .eol = (bits & 4) != 0 ? "\r\n" : "\n",
                               .blank_line = (bits & 8) != 0};
  const std::string whole = Changed(text, text.size() + 1, changes);
  Check(whole.ends_with(changes.eol));
  if (changes.quote_from) Check(("\n" + whole).find("\nFrom ") == std::string::npos);
  for (const size_t piece : {1, 2, 3, 5, 7}) Check(Changed(text, piece, changes) == whole);
}

void CheckEnd(std::string output, uint8_t bits) {
  const CommandEnd end = {
      .how = (bits & 1) != 0 ? CommandEnd::How::kSignalled : CommandEnd::How::kExited,
      .code = bits,
      .output = std::move(output)};
  const auto outcome = OutcomeOfCommand(end, "/bin/x", "/bin/x", "pipe", "execvp");
  using postfleet::mail::v1::Outcome;
  Check((outcome.action() == Outcome::ACTION_SENT) == (bits == 0));
  Check((outcome.action() == Outcome::ACTION_BOUNCED) == outcome.status().starts_with('5'));
  for (const std::string& text : {outcome.text(), outcome.diagnostic()}) {
    Check(text.size() <= kCommandOutputBytesMax + 200);
    Check(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  CheckWords(text, data[0]);
  CheckContents(text, data[0]);
  CheckEnd(text, data[0]);
  const auto argv = ArgvOfCommandLine(text, [](const std::string& name) { return name == "x"; });
  Check(!argv.empty() && !argv[0].empty());
  return 0;
}
