#include "libs/dns/internationalized.h"

#include <gtest/gtest.h>

#include <string>

namespace postfleet::dns {
namespace {

TEST(Rfc5891, LabelsInUtf8AreAskedForAsALabels) {
  EXPECT_EQ(AsciiName("b\xc3\xbc"
                      "cher.example"),
            "xn--bcher-kva.example");
  EXPECT_EQ(AsciiName("B\xc3\x9c"
                      "CHER.Example"),
            "xn--bcher-kva.example");
  EXPECT_EQ(AsciiName("\xe6\x97\xa5\xe6\x9c\xac.example"), "xn--wgv71a.example");
  EXPECT_EQ(AsciiName("fa\xc3\x9f.example"), "xn--fa-hia.example") << "not IDNA2003's fass";
}

TEST(Rfc5891, AsciiNamesStay) {
  for (const char* name : {"", "Mail.Example", "xn--bcher-kva.example", "under_score", "a..b"}) {
    EXPECT_EQ(AsciiName(name), name);
  }
}

TEST(Rfc5891, WhatIsNoNameStays) {
  for (const std::string& name : {std::string("\xff.example"), std::string("a\0\xc3\xbc", 4),
                                  std::string(70, 'a') + "\xc3\xbc.example"}) {
    EXPECT_EQ(AsciiName(name), name);
  }
}

}  // namespace
}  // namespace postfleet::dns
