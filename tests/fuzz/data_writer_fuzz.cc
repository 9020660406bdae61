// What DataWriter sends, DataReader gives back (no folding), and it ends DATA exactly once, at its
// end. The first byte seeds the splits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/smtp/data_reader.h"
#include "libs/smtp/data_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using postfleet::smtp::DataReader;
  using postfleet::smtp::DataWriter;
  if (size < 1) return 0;
  const std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t limit = data[0] % 3 == 0 ? 0 : data[0];
  DataWriter writer(limit);
  std::string wire;
  char out[DataWriter::kOutBytesMin + 5];
  for (std::string_view rest = content; !rest.empty();) {
    const auto progress = writer.Write(rest.substr(0, 1 + data[0] % 13), out, sizeof out);
    if (progress.consumed + progress.produced == 0) std::abort();
    wire.append(out, progress.produced);
    rest.remove_prefix(progress.consumed);
  }
  wire.append(out, writer.Finish(out));
  DataReader reader;
  std::vector<char> back(wire.size() + DataReader::kHeldBytesMax + 1);
  const auto progress = reader.Read(wire, back.data(), back.size());
  if (!reader.done() || progress.consumed != wire.size()) std::abort();
  std::string want = content;
  if (!want.empty() && want.back() != '\n') want += '\n';
  if (limit == 0 && std::string_view(back.data(), progress.produced) != want) std::abort();
  return 0;
}
