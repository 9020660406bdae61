#include "libs/smtp/client_attributes.h"

#include <gtest/gtest.h>

namespace postfleet::smtp {
namespace {

using Parser = decltype(&ParseXclient);

// The value of one attribute, or the reply.
std::string Value(Parser parse, std::string_view arguments, ClientAttribute attribute,
                  const AttributeSyntax& syntax = {}) {
  ClientAttributes attributes;
  if (const auto error = parse(arguments, syntax, &attributes)) return error->ToLogText();
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? "(not said)" : found->second;
}
std::string Forwarded(std::string_view arguments, ClientAttribute attribute) {
  return Value(ParseXforward, arguments, attribute);
}

TEST(Xforward, AttributesAreReadInAnyCaseAndOrder) {
  const char* const kArguments =
      "name=a.example ADDR=192.0.2.1  Port=25 PROTO=ESMTP helo=b IDENT=4jX source=local";
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kName), "a.example");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kAddr), "192.0.2.1");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kPort), "25");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kProto), "ESMTP");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kHelo), "b");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kIdent), "4jX");
  EXPECT_EQ(Forwarded(kArguments, ClientAttribute::kSource), "LOCAL");
  EXPECT_EQ(Forwarded("NAME=x", ClientAttribute::kAddr), "(not said)");
}

TEST(Xforward, UnavailableIsEmpty) {
  EXPECT_EQ(Forwarded("NAME=[UNAVAILABLE]", ClientAttribute::kName), "");
  EXPECT_EQ(Forwarded("ADDR=[unavailable]", ClientAttribute::kAddr), "");
  EXPECT_EQ(Value(ParseXclient, "NAME=[TempUnavail]", ClientAttribute::kName), "");
  EXPECT_EQ(Forwarded("NAME=[TEMPUNAVAIL]", ClientAttribute::kName),
            "501 5.5.4 Bad NAME syntax: [TEMPUNAVAIL]");
  EXPECT_EQ(Value(ParseXclient, "PROTO=[UNAVAILABLE]", ClientAttribute::kProto),
            "501 5.5.4 Bad PROTO syntax: [UNAVAILABLE]");
}

TEST(Xforward, ValuesAreXtextAndHarmless) {
  EXPECT_EQ(Forwarded("HELO=a+2Eb", ClientAttribute::kHelo), "a.b");
  EXPECT_EQ(Forwarded("HELO=a+20b+0D+0A", ClientAttribute::kHelo), "a?b??");
  EXPECT_EQ(Forwarded("IDENT=<(x)>+C3+A4+FF", ClientAttribute::kIdent), "??x??\xc3\xa4?");
  EXPECT_EQ(Value(ParseXforward, "HELO=a+C3+A4", ClientAttribute::kHelo, {.utf8 = false}), "a??");
  EXPECT_EQ(Forwarded("HELO=+zz", ClientAttribute::kHelo), "+zz") << "no xtext, from old servers";
}

TEST(Xforward, Ipv6AddressesHaveTheirPrefix) {
  EXPECT_EQ(Forwarded("ADDR=IPV6:2001:db8::9", ClientAttribute::kAddr), "2001:db8::9");
  EXPECT_EQ(Forwarded("ADDR=2001:db8::9", ClientAttribute::kAddr),
            "501 5.5.4 Bad ADDR syntax: 2001:db8::9");
  EXPECT_EQ(Forwarded("ADDR=IPv6:192.0.2.1", ClientAttribute::kAddr),
            "501 5.5.4 Bad ADDR syntax: IPv6:192.0.2.1");
}

TEST(Xforward, AddressesAreWrittenInOneWay) {
  EXPECT_EQ(Forwarded("ADDR=IPV6:2001:DB8:0::9", ClientAttribute::kAddr), "2001:db8::9");
  EXPECT_EQ(Forwarded("ADDR=IPV6:::ffff:10.0.0.1", ClientAttribute::kAddr), "10.0.0.1");
  EXPECT_EQ(
      Value(ParseXclient, "ADDR=IPV6:::ffff:10.0.0.1", ClientAttribute::kAddr, {.ipv4 = false}),
      "::ffff:10.0.0.1");
}

TEST(Xforward, AddressesAreOfProtocolsInUse) {
  EXPECT_EQ(Value(ParseXforward, "ADDR=IPV6:2001:db8::9", ClientAttribute::kAddr, {.ipv6 = false}),
            "501 5.5.4 Bad ADDR syntax: IPV6:2001:db8::9");
  EXPECT_EQ(Value(ParseXclient, "DESTADDR=192.0.2.1", ClientAttribute::kDestAddr, {.ipv4 = false}),
            "501 5.5.4 Bad DESTADDR syntax: 192.0.2.1");
}

TEST(Xclient, ALoginKeepsWhatIsPrintable) {
  EXPECT_EQ(Value(ParseXclient, "LOGIN=a+20b+3Cc+07", ClientAttribute::kLogin), "a b<c?");
}

TEST(Xforward, ErrorsInPostfixsWords) {
  const auto error = [](std::string_view arguments) {
    return Forwarded(arguments, ClientAttribute::kName);
  };
  EXPECT_EQ(error("NAME"), "501 5.5.4 Error: attribute=value expected");
  EXPECT_EQ(error("NAME="), "501 5.5.4 Error: attribute=value expected");
  EXPECT_EQ(error("=x"), "501 5.5.4 Bad XFORWARD attribute name: ");
  EXPECT_EQ(error("PROTO=FOO BAR"), "501 5.5.4 Error: attribute=value expected");
  EXPECT_EQ(error("FOO=x"), "501 5.5.4 Bad XFORWARD attribute name: FOO");
  EXPECT_EQ(error("LOGIN=x"), "501 5.5.4 Bad XFORWARD attribute name: LOGIN");
  EXPECT_EQ(error("NAME=a_b!c"), "501 5.5.4 Bad NAME syntax: a_b!c");
  EXPECT_EQ(error("PORT=a"), "501 5.5.4 Bad PORT syntax: a");
  EXPECT_EQ(error("SOURCE=foo"), "501 5.5.4 Bad SOURCE syntax: foo");
  EXPECT_EQ(error("NAME=" + std::string(256, 'a')), "501 5.5.4 Error: attribute value too long");
}

TEST(Xclient, KnowsItsOwnAttributes) {
  EXPECT_EQ(Value(ParseXclient, "PROTO=smtp LOGIN=a", ClientAttribute::kProto), "SMTP");
  EXPECT_EQ(Value(ParseXclient, "PROTO=FOO", ClientAttribute::kProto),
            "501 5.5.4 Bad PROTO syntax: FOO");
  EXPECT_EQ(Value(ParseXclient, "DESTADDR=x", ClientAttribute::kDestAddr),
            "501 5.5.4 Bad DESTADDR syntax: x");
  EXPECT_EQ(Value(ParseXclient, "IDENT=x", ClientAttribute::kIdent),
            "501 5.5.4 Bad XCLIENT attribute name: IDENT");
}

TEST(Xclient, NothingOfACommandWithAnErrorIsUsed) {
  ClientAttributes attributes = {{ClientAttribute::kName, "before.example"}};
  EXPECT_TRUE(ParseXclient("NAME=a.example FOO=x", {}, &attributes));
  EXPECT_EQ(attributes.at(ClientAttribute::kName), "before.example");
}

}  // namespace
}  // namespace postfleet::smtp
