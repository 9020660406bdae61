// Conversion to 7 bit: any split gives the same content, its size stays bounded, mail that declares
// nothing keeps its bytes, and what is declared 8bit comes out in 7 bit, in lines of 76 bytes, and
// decodes (RFC 2045, 6.7) to what it was. The first byte chooses the way and the splits.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/mail/address.h"
#include "libs/message/downgrade.h"

namespace {

using postfleet::message::Downgrade;
using postfleet::message::DowngradeOptions;

void Check(bool holds) {
  if (!holds) std::abort();
}

std::string Convert(std::string_view in, size_t piece_bytes, DowngradeOptions options) {
  Downgrade downgrade(options);
  std::string out, piece;
  for (size_t at = 0; at < in.size(); at += piece_bytes) {
    piece.clear();
    downgrade.Take(in.substr(at, piece_bytes), &piece);
    out += piece;
  }
  downgrade.Finish(&out);
  return downgrade.too_deep() ? "too deep" : out;
}

std::string Converted(std::string_view in, size_t piece_bytes, DowngradeOptions options = {}) {
  const std::string whole = Convert(in, in.size() + 1, options);
  Check(whole == Convert(in, piece_bytes, options));
  return whole;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  Check(c >= 'A' && c <= 'F');
  return c - 'A' + 10;
}

// Aborts where `text` is not quoted-printable as it should be.
std::string Decoded(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    Check(end != std::string_view::npos && end <= 76);
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    bool goes_on = false;
    for (size_t i = 0; i < line.size(); ++i) {
      const auto byte = static_cast<unsigned char>(line[i]);
      Check((byte >= 32 && byte < 127) || byte == '\t');
      if (line[i] != '=') {
        out += line[i];
      } else if (i + 1 == line.size()) {
        goes_on = true;
      } else {
        Check(i + 2 < line.size());
        out += static_cast<char>(HexDigit(line[i + 1]) * 16 + HexDigit(line[i + 2]));
        i += 2;
      }
    }
    if (goes_on) continue;
    Check(line.empty() || (line.back() != ' ' && line.back() != '\t'));
    out += '\n';
  }
  return out;
}

std::string WithLineEnd(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

void CheckAnything(std::string_view in, size_t piece_bytes) {
  const DowngradeOptions options = {
      .header_bytes_max = 64, .boundary_bytes_max = 2, .nesting_max = 3};
  const std::string out = Converted(in, piece_bytes, options);
  Check(out.size() <= 4 * in.size() + 64);
  Check(out.empty() || out == "too deep" || out.back() == '\n');

  const std::string words = postfleet::mail::LowerCasedAscii(in);
  if (words.find("8bit") != words.npos || words.find("binary") != words.npos) return;
  const auto eight_bit = [](char c) { return static_cast<unsigned char>(c) > 127; };
  const std::string kept = Converted(in, piece_bytes, {.header_bytes_max = 1 << 20});
  Check(std::count_if(in.begin(), in.end(), eight_bit) ==
            std::count_if(kept.begin(), kept.end(), eight_bit) ||
        kept == "too deep");
}

void CheckLeaf(std::string_view body, size_t piece_bytes) {
  constexpr std::string_view kHead = "Content-Transfer-Encoding: quoted-printable\n\n";
  const std::string out =
      Converted("Content-Transfer-Encoding: 8bit\n\n" + std::string(body), piece_bytes);
  Check(out.substr(0, kHead.size()) == kHead);
  Check(Decoded(std::string_view(out).substr(kHead.size())) == WithLineEnd(std::string(body)));
}

void CheckPart(std::string_view in, size_t piece_bytes) {
  std::string body = "\n" + WithLineEnd(std::string(in));
  for (size_t at; (at = body.find("\n--b")) != body.npos;) body[at + 1] = '_';
  body.erase(0, 1);
  const auto mail = [](std::string_view encoding) {
    return "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: " +
           std::string(encoding) + "\n\n";
  };
  constexpr std::string_view kTail = "--b\n\n\xe4\n--b--\n\xe4\n";
  const std::string head = mail("quoted-printable");
  const std::string out = Converted(mail("binary") + body + std::string(kTail), piece_bytes);
  Check(out.size() >= head.size() + kTail.size());
  Check(out.substr(0, head.size()) == head);
  Check(out.substr(out.size() - kTail.size()) == kTail);
  Check(Decoded(std::string_view(out).substr(head.size(),
                                             out.size() - head.size() - kTail.size())) == body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t piece_bytes = 1 + data[0] / 4;
  switch (data[0] % 4) {
    case 0:
      CheckLeaf(in, piece_bytes);
      break;
    case 1:
      CheckPart(in, piece_bytes);
      break;
    default:
      CheckAnything(in, piece_bytes);
  }
  return 0;
}
