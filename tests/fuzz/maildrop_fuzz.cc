// A mail in maildrop, which any user of the machine may write: in any pieces it is the same mail or
// the same error, and what is kept of it is no longer than the input.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/maildrop/submission.h"

namespace {

using postfleet::maildrop::SubmissionReader;

void Check(bool holds) {
  if (!holds) std::abort();
}

struct Reading {
  absl::Status status;
  std::string contents;
  std::string envelope;
};

Reading Read(std::string_view bytes, size_t piece) {
  Reading reading;
  SubmissionReader reader;
  for (; reading.status.ok() && !bytes.empty();
       bytes.remove_prefix(std::min(piece, bytes.size()))) {
    reading.status = reader.Take(bytes.substr(0, piece), &reading.contents);
  }
  if (reading.status.ok()) reading.status = reader.Finish();
  const auto& envelope = reader.envelope();
  reading.envelope = envelope.sender + '\n' + envelope.full_name + '\n' + envelope.verp + '\n' +
                     envelope.envelope_id;
  for (const auto& recipient : envelope.recipients) {
    reading.envelope += '\n' + recipient.address + '\n' + recipient.original;
  }
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Reading whole = Read(bytes, size + 1);
  const Reading parts = Read(bytes, size > 0 ? 1 + data[0] % 7 : 1);
  Check(whole.status == parts.status && whole.contents == parts.contents);
  Check(whole.envelope == parts.envelope);
  Check(whole.contents.size() <= size && whole.envelope.size() <= size + 8);
  return 0;
}
