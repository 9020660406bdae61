#include "libs/config/expand.h"

#include <gtest/gtest.h>

#include <map>

namespace postfleet::config {
namespace {

class ExpandTest : public testing::Test {
 protected:
  std::string Expand(std::string_view text) {
    absl::StatusOr<std::string> value = ExpandValue(text, lookup());
    return value.ok() ? *value : "ERROR " + std::string(value.status().message());
  }
  ValueLookup lookup() {
    return [this](std::string_view name) -> std::optional<std::string_view> {
      auto it = values_.find(name);
      if (it == values_.end()) return std::nullopt;
      return it->second;
    };
  }
  std::map<std::string, std::string, std::less<>> values_ = {
      {"foo", "FOO"}, {"bar", ""}, {"deep", "<$foo>"}, {"a", "$b"}, {"b", "$a"}, {"level", "3.6"}};
};

TEST_F(ExpandTest, NamesInAllThreeForms) {
  EXPECT_EQ(Expand("$foo ${foo} $(foo) $deep $$foo"), "FOO FOO FOO <FOO> $foo");
}

TEST_F(ExpandTest, UndefinedNameIsEmpty) { EXPECT_EQ(Expand("[$nothing]"), "[]"); }

TEST_F(ExpandTest, NameEndsAtOtherCharacters) { EXPECT_EQ(Expand("$foo.x-$foo-y"), "FOO.x-FOO-y"); }

TEST_F(ExpandTest, BranchesByEmptiness) {
  EXPECT_EQ(Expand("${foo?yes}|${bar?yes}|${foo:no}|${bar:no}"), "yes|||no");
  EXPECT_EQ(Expand("${foo?{a $foo}:{b}}|${bar?{a}:{b ${foo}}}"), "a FOO|b FOO");
}

TEST_F(ExpandTest, ComparesNumbersAsNumbersAndTextAsText) {
  EXPECT_EQ(Expand("${{10} > {9} ? {yes} : {no}}"), "yes");
  EXPECT_EQ(Expand("${{10} > {9x} ? {yes} : {no}}"), "no");
  EXPECT_EQ(Expand("${{$foo} == {FOO} ? {yes} : {no}}${{$foo} != {FOO}?{x}}"), "yes");
}

TEST_F(ExpandTest, ComparesLevelsByTheirParts) {
  EXPECT_EQ(Expand("${{$level} <level {3.10} ? {yes} : {no}}"), "yes");
  EXPECT_EQ(Expand("${{$level} <level {2} ? {yes} : {no}}"), "no");
}

TEST_F(ExpandTest, LoopIsAnError) {
  EXPECT_TRUE(Expand("$a").starts_with("ERROR unreasonable macro call nesting"));
}

TEST_F(ExpandTest, MalformedTextIsAnError) {
  EXPECT_EQ(Expand("a${foo"), "ERROR truncated macro reference: \"a${foo\"");
  EXPECT_EQ(Expand("a$ b"), "ERROR empty macro name: \"a$ b\"");
  EXPECT_EQ(Expand("${fo-o}"), "ERROR attribute name syntax error at: \"...fo>>>-o\"");
  EXPECT_EQ(Expand("${foo?{yes}x}"), "ERROR \":\" expected at: \"...foo?{yes}>>>x\"");
}

}  // namespace
}  // namespace postfleet::config
