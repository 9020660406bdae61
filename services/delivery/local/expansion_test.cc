#include "services/delivery/local/expansion.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

class FakeAccounts : public Accounts {
 public:
  FakeAccounts() {
    Add("alice", 1001);
    Add("bob", 1002);
    Add("root", 0);
  }
  void Add(const std::string& name, uid_t uid) {
    users_[name] = {
        .name = name, .ids = {uid, uid}, .home = Concat("/home/", name), .shell = "/bin/sh"};
  }
  absl::StatusOr<std::optional<User>> ByName(const std::string& name) override {
    if (fails) return absl::UnavailableError("the name service is away");
    const auto user = users_.find(name);
    return user == users_.end() ? std::nullopt : std::make_optional(user->second);
  }
  absl::StatusOr<std::optional<User>> ByUid(uid_t uid) override {
    for (const auto& [name, user] : users_) {
      if (user.ids.uid == uid) return user;
    }
    return std::nullopt;
  }
  bool fails = false;

 private:
  std::map<std::string, User> users_;
};

// Walks a recipient's tree with files in memory; each part becomes a line.
class ExpansionTest : public testing::Test {
 protected:
  ExpansionTest() {
    options_.rewriting.origin = "site.example";
    options_.forward_path = "$home/.forward${recipient_delimiter}${extension}, $home/.forward";
    options_.forward_expansion_filter = "abcdefghijklmnopqrstuvwxyz/.+";
    options_.default_rights = {99, 99};
  }

  std::vector<std::string> Walk(const std::string& name, const std::string& delivered = "") {
    LocalTables tables(options_);
    mail::v1::Recipient recipient;
    recipient.set_address(Concat(name, "@site.example"));
    recipient.set_dsn_notify(notify_);
    Expansion expansion(options_, tables, accounts_, "Q", "sender@far.example", recipient,
                        delivered.empty() ? std::set<std::string>{} : std::set{delivered});
    std::vector<std::string> lines;
    for (Step step = expansion.Next(); step.kind != Step::Kind::kFinished;
         step = expansion.Next()) {
      Take(expansion, step, &lines);
    }
    for (const Forwarding& forwarding : expansion.forwards()) {
      if (expansion.has_deferred()) break;
      std::string line =
          Concat("forward from ", forwarding.sender, " for ", forwarding.delivered, ":");
      for (const auto& to : forwarding.recipients) ConcatTo(&line, " ", to.address());
      lines.push_back(line);
    }
    success_ = expansion.success();
    return lines;
  }

  void Take(Expansion& expansion, const Step& step, std::vector<std::string>* lines) {
    const std::string& who = step.party.recipient.address();
    switch (step.kind) {
      case Step::Kind::kReadFile:
        return expansion.OnFile(Read(step.text));
      case Step::Kind::kFindRoute: {
        std::string address = step.text;
        if (address.find('@') == std::string::npos) address += "@site.example";
        return expansion.OnRoute(
            routes_, {.transport = address.ends_with("@site.example") ? "local" : "smtp",
                      .nexthop = "",
                      .recipient = address});
      }
      case Step::Kind::kDecided:
        lines->push_back(Concat(who, " ", step.outcome.status(), " ", step.outcome.text()));
        return expansion.OnDone(step.outcome.action());
      case Step::Kind::kMailbox:
        lines->push_back(Concat(who, " mailbox ", step.text, " as ", step.rights.uid));
        return expansion.OnDone(Outcome::ACTION_SENT);
      case Step::Kind::kFile:
        lines->push_back(Concat(who, " file ", step.text, " as ", step.rights.uid));
        return expansion.OnDone(Outcome::ACTION_SENT);
      case Step::Kind::kCommand:
        lines->push_back(Concat(who, " command ", step.text, " as ", step.rights.uid));
        return expansion.OnDone(step.text == "defer" ? Outcome::ACTION_DEFERRED
                                                     : Outcome::ACTION_SENT);
      case Step::Kind::kPassOn:
        lines->push_back(Concat(who, " pass ", step.text));
        return expansion.OnDone(Outcome::ACTION_SENT);
      case Step::Kind::kFinished:
        return;
    }
  }

  UserFile Read(const std::string& path) {
    const auto file = files_.find(path);
    if (file != files_.end()) return file->second;
    UserFile absent;
    absent.failure = {.kind = ActionFailure::Kind::kFailed, .error_number = ENOENT};
    return absent;
  }

  void Write(const std::string& path, const std::string& text, uid_t owner, mode_t mode = 0644) {
    UserFile file;
    file.text = text;
    file.is_regular = true;
    file.owner = owner;
    file.mode = mode;
    files_[path] = file;
  }

  void Aliases(const std::string& inline_items) {
    options_.alias_maps = {Concat("inline:{ ", inline_items, " }")};
  }

  LocalOptions options_;
  FakeAccounts accounts_;
  std::map<std::string, UserFile> files_;
  absl::Status routes_;
  uint32_t notify_ = 0;
  Outcome::Success success_ = Outcome::SUCCESS_UNSPECIFIED;
};

using Lines = std::vector<std::string>;

TEST_F(ExpansionTest, UserGetsMailInTheSpool) {
  EXPECT_EQ(Walk("alice"), Lines{"alice@site.example mailbox /var/mail/alice as 1001"});
  EXPECT_EQ(Walk("ALICE"), Lines{"ALICE@site.example mailbox /var/mail/alice as 1001"});
}

TEST_F(ExpansionTest, UnknownUserBounces) {
  EXPECT_EQ(Walk("nobody"), Lines{"nobody@site.example 5.1.1 unknown user: \"nobody\""});
}

TEST_F(ExpansionTest, FailingNameServiceDefers) {
  accounts_.fails = true;
  EXPECT_EQ(Walk("nobody"), Lines{"nobody@site.example 4.0.0 user lookup error"});
}

TEST_F(ExpansionTest, PartsOfAnAliasAreDeliveredInTheirOrderAndForwardsGoLast) {
  Aliases("{ team = x@far.example, alice, \"|work hard\", /var/log/team, bob }");
  EXPECT_EQ(Walk("team"),
            (Lines{"alice@site.example mailbox /var/mail/alice as 1001",
                   "team@site.example command work hard as 99",
                   "team@site.example file /var/log/team as 99",
                   "bob@site.example mailbox /var/mail/bob as 1002",
                   "forward from sender@far.example for team@site.example: x@far.example"}));
}

TEST_F(ExpansionTest, AliasThatNamesItselfIsTheUser) {
  Aliases("{ alice = alice, x@far.example }");
  EXPECT_EQ(Walk("alice"),
            (Lines{"alice@site.example mailbox /var/mail/alice as 1001",
                   "forward from sender@far.example for alice@site.example: x@far.example"}));
}

TEST_F(ExpansionTest, AliasesThatNameOneAnotherEnd) {
  Aliases("{ a = b }, { b = a }");
  EXPECT_EQ(Walk("a"), Lines{"b@site.example 5.4.6 alias database loop for b"});
}

TEST_F(ExpansionTest, ChainOfAliasesHasPostfixsLength) {
  std::string chain;
  for (int i = 1; i < 26; ++i) ConcatTo(&chain, "{ c", i, " = c", i + 1, " } ");
  Aliases(Concat(chain, "{ c26 = alice }"));
  EXPECT_EQ(Walk("c3"), Lines{"alice@site.example mailbox /var/mail/alice as 1001"});
  EXPECT_EQ(Walk("c2"), Lines{"alice@site.example 5.4.6 alias database loop for alice"});
}

TEST_F(ExpansionTest, AliasWithoutDestinationDefers) {
  Aliases("{ void = , }");
  EXPECT_EQ(Walk("void"), Lines{"void@site.example 4.3.0 alias database unavailable"});
}

TEST_F(ExpansionTest, NothingIsForwardedWherePartsAreDeferred) {
  Aliases("{ team = x@far.example, |defer, alice }");
  EXPECT_EQ(Walk("team"), (Lines{"team@site.example command defer as 99",
                                 "alice@site.example mailbox /var/mail/alice as 1001"}));
}

TEST_F(ExpansionTest, DuplicatesAreDeliveredOnce) {
  Aliases("{ team = alice, Alice, x@far.example, X@far.example, |run, |run }");
  EXPECT_EQ(Walk("team"),
            (Lines{"alice@site.example mailbox /var/mail/alice as 1001",
                   "team@site.example command run as 99",
                   "forward from sender@far.example for team@site.example: x@far.example"}));
}

TEST_F(ExpansionTest, ListHasItsOwnerAsSender) {
  Aliases("{ list = alice, x@far.example }, { owner-list = bob }");
  EXPECT_EQ(Walk("list"),
            Lines{"forward from owner-list@site.example for list@site.example: alice@site.example "
                  "x@far.example"});
  options_.expand_owner_alias = true;
  EXPECT_EQ(Walk("list").back().substr(0, 31), "forward from bob@site.example f");
}

TEST_F(ExpansionTest, ForwardFileIsItsUsers) {
  Write("/home/alice/.forward", "# all\n\\alice, x@far.example\n|run\n~/copy\n", 1001);
  EXPECT_EQ(Walk("alice"),
            (Lines{"alice@site.example mailbox /var/mail/alice as 1001",
                   "alice@site.example command run as 1001",
                   "alice@site.example file /home/alice/copy as 1001",
                   "forward from sender@far.example for alice@site.example: x@far.example"}));
}

TEST_F(ExpansionTest, ForwardFileThatAnotherMayWriteIsIgnored) {
  Write("/home/alice/.forward", "x@far.example\n", 1001, 0666);
  Write("/home/bob/.forward", "x@far.example\n", 1001);
  EXPECT_EQ(Walk("alice"), Lines{"alice@site.example mailbox /var/mail/alice as 1001"});
  EXPECT_EQ(Walk("bob"), Lines{"bob@site.example mailbox /var/mail/bob as 1002"});
}

TEST_F(ExpansionTest, ForwardFileThatIsALinkIsIgnored) {
  Write("/home/alice/.forward", "x@far.example\n", 1001);
  files_["/home/alice/.forward"].is_link = true;
  EXPECT_EQ(Walk("alice"), Lines{"alice@site.example mailbox /var/mail/alice as 1001"});
}

TEST_F(ExpansionTest, UserWhoForwardsToHimselfKeepsHisMail) {
  Write("/home/alice/.forward", "alice, bob\n", 1001);
  EXPECT_EQ(Walk("alice"),
            (Lines{"alice@site.example mailbox /var/mail/alice as 1001",
                   "forward from sender@far.example for alice@site.example: bob@site.example"}));
}

TEST_F(ExpansionTest, NothingBehindALineThatIsDeferredIsDone) {
  Write("/home/alice/.forward", "|defer\n|run\n", 1001);
  EXPECT_EQ(Walk("alice"), Lines{"alice@site.example command defer as 1001"});
}

TEST_F(ExpansionTest, HelperThatIsAwayDefersAndDoesNotSkipTheForwardFile) {
  UserFile away;
  away.failure = {.kind = ActionFailure::Kind::kUnavailable, .text = "no helper"};
  files_["/home/alice/.forward"] = away;
  EXPECT_EQ(Walk("alice"), Lines{"alice@site.example 4.3.0 mail system error: no helper"});
}

TEST_F(ExpansionTest, ExtensionFindsItsOwnForwardFileAndAlias) {
  options_.recipient_delimiter = "+";
  Write("/home/alice/.forward+work", "work@far.example\n", 1001);
  Write("/home/alice/.forward", "all@far.example\n", 1001);
  Aliases("{ bob+work = alice }, { team = alice }");
  EXPECT_EQ(Walk("alice+work").back().substr(36), "alice+work@site.example: work@far.example");
  EXPECT_EQ(Walk("alice+home").back().substr(36), "alice+home@site.example: all@far.example");
  EXPECT_EQ(Walk("bob+work"), Lines{"forward from sender@far.example for bob+work@site.example: "
                                    "all@far.example"});
  EXPECT_EQ(Walk("alice+a/b").back().substr(36), "alice+a/b@site.example: all@far.example");
}

TEST_F(ExpansionTest, UnmatchedExtensionsGoOnWhereAllowed) {
  options_.recipient_delimiter = "+";
  options_.extensions_go_to = static_cast<int>(Origin::kAlias);
  Aliases("{ team = x@far.example }");
  EXPECT_EQ(Walk("team+a"), Lines{"forward from sender@far.example for team+a@site.example: "
                                  "x+a@far.example"});
}

TEST_F(ExpansionTest, ListFileActsAsItsOwner) {
  options_.commands_from = 7;
  Aliases("{ list = :include:/lists/all }");
  Write("/lists/all", "|run\nalice\n", 1002);
  EXPECT_EQ(Walk("list"),
            (Lines{"list@site.example command run as 1002",
                   "forward from sender@far.example for list@site.example: alice@site.example"}));
}

TEST_F(ExpansionTest, ListFileMayNotRunCommandsUnlessAllowed) {
  Aliases("{ list = :include:/lists/all }");
  Write("/lists/all", "|run\n/tmp/x\n", 0);
  EXPECT_EQ(Walk("list"), (Lines{"list@site.example 5.7.1 mail to command is restricted",
                                 "list@site.example 5.7.1 mail to file is restricted"}));
}

TEST_F(ExpansionTest, ListFilesThatIncludeOneAnotherEnd) {
  Aliases("{ list = :include:/lists/a }");
  Write("/lists/a", ":include:/lists/b\n", 0);
  Write("/lists/b", ":include:/lists/a\nx@far.example\n", 0);
  EXPECT_EQ(Walk("list"),
            Lines{"forward from sender@far.example for list@site.example: x@far.example"});
  for (int i = 0; i < 200; ++i) {
    Write(Concat("/lists/", i), Concat(":include:/lists/", i + 1, "\n"), 0);
  }
  Aliases("{ list = :include:/lists/0 }");
  const Lines lines = Walk("list");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find(" 5.4.6 "), std::string::npos) << lines[0];
}

TEST_F(ExpansionTest, CommandOfRootRunsAsTheDefaultUser) {
  Write("/home/root/.forward", "|run\n", 0);
  EXPECT_EQ(Walk("root"), Lines{"root@site.example command run as 99"});
}

TEST_F(ExpansionTest, MessageThatWasHereBeforeLoops) {
  EXPECT_EQ(Walk("Alice", "alice@site.example"),
            Lines{"Alice@site.example 5.4.6 mail forwarding loop for Alice@site.example"});
}

TEST_F(ExpansionTest, AddressOfTheUserDoesNotBecomeAPath) {
  options_.recipient_delimiter = "+";
  EXPECT_EQ(Walk("../etc/alice"),
            Lines{"../etc/alice@site.example 5.1.1 unknown user: \"../etc/alice\""});
}

TEST_F(ExpansionTest, RelayOfUnknownUsersIsExpandedOnce) {
  options_.luser_relay = "$user-old@far.example";
  EXPECT_EQ(Walk("$home"), Lines{"forward from sender@far.example for $home@site.example: "
                                 "$home-old@far.example"});
}

TEST_F(ExpansionTest, RequiredAddressesAreDiscardedWithoutAnAlias) {
  EXPECT_EQ(Walk("postmaster"), Lines{"postmaster@site.example 2.0.0 discarded"});
}

TEST_F(ExpansionTest, TransportOfMailboxesTakesUnknownUsersToo) {
  options_.mailbox_transport = "lmtp:unix:/x";
  EXPECT_EQ(Walk("nobody"), Lines{"nobody@site.example pass lmtp:unix:/x"});
}

TEST_F(ExpansionTest, SuccessIsToldOfTheAliasOnce) {
  notify_ = mail::v1::NOTIFY_FLAG_SUCCESS;
  Aliases("{ team = alice, x@far.example }, { list = x@far.example }, { owner-list = bob }");
  Walk("team");
  EXPECT_EQ(success_, Outcome::SUCCESS_EXPANDED);
  Walk("list");
  EXPECT_EQ(success_, Outcome::SUCCESS_DELIVERED);
  Walk("alice");
  EXPECT_EQ(success_, Outcome::SUCCESS_UNSPECIFIED);
}

TEST_F(ExpansionTest, RouteThatCannotBeKnownDefers) {
  Aliases("{ team = alice }");
  routes_ = absl::UnavailableError("away");
  EXPECT_EQ(Walk("team"), Lines{"team@site.example 4.3.0 address resolver failure"});
}

TEST(Destinations, AreReadAsPostfixDoes) {
  using Kind = Destination::Kind;
  EXPECT_EQ(ReadDestinations("a, b@x.example \"|run it, now\" /a/b.c ~/d, :include:/e.f"),
            (std::vector<Destination>{{Kind::kAddress, "a"},
                                      {Kind::kAddress, "b@x.example"},
                                      {Kind::kCommand, "run it, now"},
                                      {Kind::kFile, "/a/b.c"},
                                      {Kind::kHome, "~/d"},
                                      {Kind::kInclude, "/e.f"}}));
  EXPECT_EQ(ReadDestinations("\\alice"), (std::vector<Destination>{{Kind::kAddress, "alice"}}));
  EXPECT_EQ(ReadDestinations("Name <a@b.example> (note)"),
            (std::vector<Destination>{{Kind::kAddress, "a@b.example"}}));
  EXPECT_TRUE(ReadDestinations(" , ").empty());
}

TEST(NameExpansion, ValuesAreTextAndFiltered) {
  const NameValue value = [](std::string_view name) -> std::optional<std::string> {
    if (name == "user") return "a$home;b";
    return std::nullopt;
  };
  const std::string filter = "abc/";
  EXPECT_EQ(ExpandNames("/x/$user", value, &filter).text, "/x/a______b");
  EXPECT_EQ(ExpandNames("$user", value, nullptr).text, "a$home;b");
  EXPECT_EQ(
      ExpandNames("${user?{yes}:{no}} ${other?{yes}:{no}} ${other:none} $$", value, nullptr).text,
      "yes no none $");
  EXPECT_TRUE(ExpandNames("$other", value, nullptr).has_undefined);
  EXPECT_FALSE(ExpandNames("${other:none}", value, nullptr).has_undefined);
  EXPECT_TRUE(ExpandNames("${user", value, nullptr).is_malformed);
}

}  // namespace
}  // namespace postfleet::delivery
