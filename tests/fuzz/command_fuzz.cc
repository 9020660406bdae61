// Commands and addresses: nothing crashes, an error has a reply, and what parses is written so that
// it parses to the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/smtp/command.h"
#include "libs/smtp/line_reader.h"

namespace {

void Check(const postfleet::mail::Address& address) {
  const auto again =
      postfleet::mail::ParsePath("<" + address.ToSmtp() + ">", {.allow_non_ascii = true});
  if (!again.ok() || again->address != address) std::abort();
}

void Parse(std::string_view line) {
  using namespace postfleet::smtp;
  const Command command = ParseCommand(line);
  const PathSyntax syntax{.path = {.strict = line.size() % 2 == 1}, .auth = true};
  MailCommand mail;
  RcptCommand rcpt;
  BdatCommand bdat;
  if (auto error = ParseMail(command.arguments, syntax, &mail); error && error->code < 500)
    std::abort();
  else if (!error)
    Check(mail.sender);
  if (auto error = ParseRcpt(command.arguments, syntax, true, &rcpt); error && error->code < 500)
    std::abort();
  else if (!error)
    Check(rcpt.recipient);
  ParseBdat(command.arguments, &bdat);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), size);
  postfleet::smtp::LineReader reader(64);
  postfleet::smtp::Line line;
  while (!in.empty()) {
    const auto result = reader.Next(&in, &line);
    if (result == postfleet::smtp::LineReader::kFlood) break;
    if (result != postfleet::smtp::LineReader::kLine) continue;
    if (line.text.size() > 64) std::abort();
    Parse(line.text);
  }
  return 0;
}
