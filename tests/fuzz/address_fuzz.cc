// Addresses of envelopes and of header fields.
//
// Of an envelope: what parses is written so that it parses to the same, with every option; its
// internal form splits to the same. Of a field: the addresses that it has when it is rewritten are
// those that were read and completed, if each has a domain and needs no quotes; it stays one field.
//
// The first byte chooses options and rules.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/mail/smtp_path.h"
#include "libs/message/address_rewriting.h"

namespace {

using postfleet::mail::Address;
using postfleet::mail::ParsePath;
using postfleet::mail::PathOptions;
using postfleet::message::AddressRewriting;

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckPath(std::string_view text, uint8_t bits) {
  const PathOptions options{.strict = (bits & 1) != 0,
                            .allow_non_ascii = (bits & 2) != 0,
                            .allow_null_domain = (bits & 4) != 0,
                            .allow_numeric_domain = (bits & 8) != 0};
  const auto path = ParsePath(text, options);
  if (!path.ok()) return;
  const Address& address = path->address;
  Check(path->length <= text.size());
  Check(path->length == text.size() || text[path->length] == ' ' || text[path->length] == '\t');
  const std::string internal = address.ToString();
  Check(internal.find_first_of(std::string_view("\r\n\0", 3)) == internal.npos);
  Check(postfleet::mail::SplitAddress(internal) == address);
  const std::string written = "<" + address.ToSmtp() + ">";
  const auto again = ParsePath(written, options);
  Check(again.ok() && again->address == address && again->length == written.size());
  Check(address.IsNull() || postfleet::mail::QuoteAddress(internal) == address.ToSmtp());
}

// A field of a message: lines, each but the first with a blank in front, without the last end.
std::string FieldOf(std::string_view text) {
  std::string field = "To: ";
  for (const char c : text) {
    field += c;
    if (c == '\n') field += ' ';
  }
  return field;
}

std::string_view ValueOf(const std::string& field) {
  return std::string_view(field).substr(field.find(':') + 1);
}

bool ContinuesOnEachLine(std::string_view field) {
  for (size_t at = 0; (at = field.find('\n', at)) != field.npos; ++at) {
    if (at + 1 == field.size() || (field[at + 1] != ' ' && field[at + 1] != '\t')) return false;
  }
  return true;
}

// Of others the words grow together, or have no form in which they could be written, in Postfix
// too.
bool IsPlain(const std::string& internal) {
  const Address address = postfleet::mail::SplitAddress(internal);
  return postfleet::mail::QuoteLocalPart(address.local_part) == address.local_part &&
         postfleet::mail::IsMailDomain(address.domain, true);
}

void CheckField(std::string_view text, uint8_t bits) {
  const AddressRewriting rules{.origin = (bits & 16) != 0 ? "origin.example" : "",
                               .domain = "example",
                               .append_dot_domain = (bits & 32) != 0,
                               .swap_bangpath = (bits & 64) != 0,
                               .percent_hack = (bits & 128) != 0};
  const std::string before = FieldOf(text);
  std::string field = before;
  const bool changed = RewriteAddressField(rules, &field);
  Check(changed || field == before);
  Check(ContinuesOnEachLine(field));
  if (!changed) return;
  Check(field.find('\0') == field.npos);
  const auto addresses = ReadAddressList(rules, ValueOf(before));
  if (!std::all_of(addresses.begin(), addresses.end(), IsPlain)) return;
  const AddressRewriting none{
      .append_at_origin = false, .swap_bangpath = false, .percent_hack = false};
  Check(ReadAddressList(none, ValueOf(field)) == addresses);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  CheckPath(text, data[0]);
  CheckField(text, data[0]);
  return 0;
}
