#include "libs/smtp/proxy_header.h"

#include <gtest/gtest.h>

#include <string>

namespace postfleet::smtp {
namespace {

using State = ProxyHeaderReader::State;

std::string Binary(uint8_t version_and_command, uint8_t family, const std::string& fields) {
  std::string header("\r\n\r\n\0\r\nQUIT\n", 12);
  header += static_cast<char>(version_and_command);
  header += static_cast<char>(family);
  header += static_cast<char>(fields.size() >> 8);
  header += static_cast<char>(fields.size() & 0xff);
  return header + fields;
}

const std::string kTcp4Fields("\xc0\x00\x02\x07\xc0\x00\x02\x01\x61\xd1\x00\x19", 12);
constexpr char kTcp4Line[] = "PROXY TCP4 192.0.2.7 192.0.2.1 25041 25\r\n";

// "CLIENT PORT > SERVER PORT", "local", the error, or "more"; given `piece` bytes at a time, with
// bytes of a session behind.
std::string Read(const std::string& header, size_t piece = 1000) {
  ProxyHeaderReader reader;
  std::string in = header + "EHLO x\r\n";
  while (reader.state() == State::kMore && in.size() > 8) {
    in.erase(0, reader.Take(std::string_view(in).substr(0, piece)));
  }
  switch (reader.state()) {
    case State::kMore:
      return "more";
    case State::kBad:
      return std::string(reader.error());
    case State::kDone:
      break;
  }
  EXPECT_EQ(in, "EHLO x\r\n") << header;
  const ProxiedConnection& connection = reader.connection();
  if (connection.local) return "local";
  return connection.client_address + " " + std::to_string(connection.client_port) + " > " +
         connection.server_address + " " + std::to_string(connection.server_port);
}

TEST(ProxyHeader, ALineNamesBothEnds) {
  EXPECT_EQ(Read(kTcp4Line), "192.0.2.7 25041 > 192.0.2.1 25");
  EXPECT_EQ(Read("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\n"),
            "2001:db8::7 1 > 2001:db8::1 65535");
  EXPECT_EQ(Read("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 0 25\r\n"),
            "192.0.2.7 0 > 192.0.2.1 25");
}

// As Postfix takes them.
TEST(ProxyHeader, ALineMayHaveMoreBlanksAndWords) {
  EXPECT_EQ(Read("PROXY  TCP4 192.0.2.7 192.0.2.1  25041 25 x\r\n"),
            "192.0.2.7 25041 > 192.0.2.1 25");
}

TEST(ProxyHeader, ALineThatIsNoneIsRefused) {
  EXPECT_EQ(Read("PROXY UNKNOWN\r\n"), "bad or missing protocol type");
  EXPECT_EQ(Read("PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n"), "bad or missing protocol type");
  EXPECT_EQ(Read("PROXY TCP4 300.0.2.7 192.0.2.1 1 2\r\n"), "bad or missing client address");
  EXPECT_EQ(Read("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"), "bad or missing client address");
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.7 x 1 2\r\n"), "bad or missing server address");
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.7 192.0.2.1 99999 2\r\n"), "bad or missing client port");
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.7 192.0.2.1 025 2\r\n"), "bad or missing client port");
  EXPECT_EQ(Read("PROXY TCP4 192.0.2.7 192.0.2.1 25\r\n"), "bad or missing server port");
  EXPECT_EQ(Read("PROXY UNKNOWN " + std::string(600, 'x') + "\r\n"),
            "missing protocol header terminator");
  for (const char* other :
       {"EHLO client.example\r\n", "proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
        "PROXYTCP4 192.0.2.7 192.0.2.1 1 2\r\n", "\r\nEHLO client.example\r\n"}) {
    EXPECT_EQ(Read(other), "unrecognized protocol header") << other;
  }
}

TEST(ProxyHeader, BinaryNamesBothEnds) {
  EXPECT_EQ(Read(Binary(0x21, 0x11, kTcp4Fields)), "192.0.2.7 25041 > 192.0.2.1 25");
  EXPECT_EQ(Read(Binary(0x21, 0x11,
                        kTcp4Fields + std::string("\x03\0\x04"
                                                  "abcd",
                                                  7))),
            "192.0.2.7 25041 > 192.0.2.1 25");
  const std::string six = "\x20\x01\x0d\xb8" + std::string(11, '\0') + "\x07";
  EXPECT_EQ(Read(Binary(0x21, 0x21, six + six + kTcp4Fields.substr(8))),
            "2001:db8::7 25041 > 2001:db8::7 25");
}

TEST(ProxyHeader, BinaryMayBeOfTheProxyItself) {
  EXPECT_EQ(Read(Binary(0x20, 0, "")), "local");
  EXPECT_EQ(Read(Binary(0x20, 0x11, kTcp4Fields)), "local");
}

TEST(ProxyHeader, BinaryThatNamesNoTcpClientIsRefused) {
  EXPECT_EQ(Read(Binary(0x21, 0, "")), "unsupported network protocol");
  EXPECT_EQ(Read(Binary(0x21, 0x31, std::string(216, 'x'))), "unsupported network protocol");
  EXPECT_EQ(Read(Binary(0x21, 0x12, kTcp4Fields)), "unsupported network protocol");
  EXPECT_EQ(Read(Binary(0x21, 0x11, "1234")), "short address field");
  EXPECT_EQ(Read(Binary(0x31, 0x11, kTcp4Fields)), "unrecognized protocol version");
  EXPECT_EQ(Read(Binary(0x25, 0x11, kTcp4Fields)), "bad command in proxy header");
  EXPECT_EQ(Read(Binary(0x21, 0x11, kTcp4Fields + std::string(3000, 'x'))),
            "short version 2 protocol header");
}

TEST(ProxyHeader, ComesInAnyPieces) {
  for (size_t piece = 1; piece < 20; ++piece) {
    EXPECT_EQ(Read(kTcp4Line, piece), "192.0.2.7 25041 > 192.0.2.1 25");
    EXPECT_EQ(Read(Binary(0x21, 0x11, kTcp4Fields + "1234"), piece),
              "192.0.2.7 25041 > 192.0.2.1 25");
  }
}

TEST(ProxyHeader, IsWaitedForUntilItIsWhole) {
  ProxyHeaderReader line;
  EXPECT_EQ(line.Take("PROXY TCP4 1"), 12u);
  EXPECT_EQ(line.state(), State::kMore);
  ProxyHeaderReader binary;
  const std::string header = Binary(0x21, 0x11, kTcp4Fields);
  EXPECT_EQ(binary.Take(std::string_view(header).substr(0, 20)), 20u);
  EXPECT_EQ(binary.state(), State::kMore);
}

}  // namespace
}  // namespace postfleet::smtp
