#include "libs/smtp/command.h"

#include <gtest/gtest.h>

namespace postfleet::smtp {
namespace {

constexpr PathSyntax kDefault{};

std::string MailError(std::string_view arguments, const PathSyntax& syntax = kDefault) {
  MailCommand mail;
  const auto error = ParseMail(arguments, syntax, &mail);
  return error ? error->ToLogText() : "good " + mail.sender.ToSmtp();
}

std::string RcptError(std::string_view arguments, const PathSyntax& syntax = kDefault,
                      bool smtputf8 = false) {
  RcptCommand rcpt;
  const auto error = ParseRcpt(arguments, syntax, smtputf8, &rcpt);
  return error ? error->ToLogText() : "good " + rcpt.recipient.ToSmtp();
}

TEST(Rfc5321_2_4, VerbsAreNotCaseSensitive) {
  EXPECT_EQ(ParseCommand("mAiL FROM:<a>").verb, Verb::kMail);
  EXPECT_EQ(ParseCommand("  EHLO \t client.example  ").arguments, "client.example");
  EXPECT_EQ(ParseCommand("QUIT").arguments, "");
  EXPECT_EQ(ParseCommand("MAILX").verb, Verb::kUnknown);
  EXPECT_EQ(ParseCommand("").verb, Verb::kUnknown);
  EXPECT_EQ(ParseCommand("GET / HTTP/1.0").name, "GET");
}

TEST(Verbs, EachHasAName) {
  for (int i = 1; i < kVerbCount; ++i) {
    const auto verb = static_cast<Verb>(i);
    EXPECT_EQ(ParseCommand(VerbName(verb)).verb, verb) << i;
  }
}

TEST(Rfc5321_4_1_1_2, MailTakesAPathAndParameters) {
  MailCommand mail;
  ASSERT_FALSE(
      ParseMail("FROM:<\"a b\"@Example.ORG> SIZE=1000 body=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B1",
                kDefault, &mail));
  EXPECT_EQ(mail.sender, (mail::Address{"a b", "Example.ORG"}));
  EXPECT_EQ(mail.sender_text, "\"a b\"@Example.ORG");
  EXPECT_EQ(mail.size_bytes, 1000u);
  EXPECT_EQ(mail.body, Body::k8BitMime);
  EXPECT_TRUE(mail.smtputf8);
  EXPECT_EQ(mail.ret, "HDRS");
  EXPECT_EQ(mail.envid, "QQ+1");
}

TEST(ParseMail, BlanksBehindTheColonAreTaken) {
  EXPECT_EQ(MailError("from: <a@b>"), "good a@b");
  EXPECT_EQ(MailError("FROM:a@b BODY=7BIT"), "good a@b");
  EXPECT_EQ(MailError("FROM:<>"), "good ");
}

TEST(ParseMail, ErrorsInPostfixsWords) {
  const char* const kSyntax = "501 5.5.4 Syntax: MAIL FROM:<address>";
  EXPECT_EQ(MailError("FROM : <a@b>"), kSyntax);
  for (const char* arguments : {"", "FROM", "FROM:", "FROM: ", "TO:<a@b>", "FROMM:<a@b>", "<a@b>"})
    EXPECT_EQ(MailError(arguments), kSyntax) << arguments;
  for (const char* arguments : {"FROM:<a@b", "FROM:<a b@c>", "FROM:<a@b>SIZE=1", "FROM:<a@>"})
    EXPECT_EQ(MailError(arguments), "501 5.1.7 Bad sender address syntax") << arguments;
  EXPECT_EQ(MailError("FROM:<a@b> FOO=bar"), "555 5.5.4 Unsupported option: FOO=bar");
  EXPECT_EQ(MailError("FROM:<a@b> BODY=BINARYMIME"),
            "555 5.5.4 Unsupported option: BODY=BINARYMIME");
  EXPECT_EQ(MailError("FROM:<a@b> SMTPUTF8=1"), "555 5.5.4 Unsupported option: SMTPUTF8=1");
  for (const char* size : {"SIZE=", "SIZE=x", "SIZE=-1", "SIZE=1x"})
    EXPECT_EQ(MailError("FROM:<a@b> " + std::string(size)), "501 5.5.4 Bad message size syntax")
        << size;
  EXPECT_EQ(MailError("FROM:<a@b> RET=ALL"), "501 5.5.4 Bad RET parameter syntax");
  EXPECT_EQ(MailError("FROM:<a@b> RET=FULL RET=FULL"), "501 5.5.4 Bad RET parameter syntax");
  EXPECT_EQ(MailError("FROM:<a@b> ENVID=a=b"), "501 5.5.4 Bad ENVID parameter syntax");
  EXPECT_EQ(MailError("FROM:<a@b> ENVID=+0A"), "501 5.5.4 Bad ENVID parameter syntax")
      << "a line end in disguise";
}

TEST(ParseMail, ServicesThatAreOffRefuseTheirParameters) {
  EXPECT_EQ(MailError("FROM:<a@b> RET=FULL", {.dsn = false}), "501 5.7.1 DSN support is disabled");
  EXPECT_EQ(MailError("FROM:<a@b> SMTPUTF8", {.smtputf8 = false}),
            "555 5.5.4 Unsupported option: SMTPUTF8");
  EXPECT_EQ(MailError("FROM:<a@b> AUTH=<>"), "good a@b") << "ignored";
  EXPECT_EQ(MailError("FROM:<a@b> AUTH=<>", {.auth = true}), "good a@b");
}

TEST(ParseMail, XverpIsForWhoMaySayIt) {
  const VerpSyntax verp{.default_delimiters = "-=", .filter = "-=+"};
  const PathSyntax may{.verp = &verp};
  EXPECT_EQ(MailError("FROM:<a@b> XVERP"), "555 5.5.4 Unsupported option: XVERP");
  EXPECT_EQ(MailError("FROM:<a@b> XVERP=+="), "555 5.5.4 Unsupported option: XVERP=+=");
  MailCommand mail;
  EXPECT_FALSE(ParseMail("FROM:<a@b> SIZE=5", may, &mail));
  EXPECT_EQ(mail.verp, "");
  EXPECT_FALSE(ParseMail("FROM:<a@b> xverp SIZE=5", may, &mail));
  EXPECT_EQ(mail.verp, "-=") << "the default";
  EXPECT_FALSE(ParseMail("FROM:<a@b> SIZE=5 XVERP=+=", may, &mail));
  EXPECT_EQ(mail.verp, "+=");
}

TEST(ParseMail, XverpThatCannotBeIsRefused) {
  const VerpSyntax verp;
  const PathSyntax may{.verp = &verp};
  const std::string bad = "501 5.5.4 Error: XVERP needs two characters from -=+";
  for (const char* delimiters : {"", "+", "+=-", "ab", "+a"}) {
    EXPECT_EQ(MailError(std::string("FROM:<a@b> XVERP=") + delimiters, may), bad) << delimiters;
  }
  MailCommand mail;
  EXPECT_FALSE(ParseMail("FROM:<> XVERP", may, &mail));
  const auto null_sender = RefuseVerpOfNullSender(mail);
  ASSERT_TRUE(null_sender);
  EXPECT_EQ(null_sender->ToLogText(), "503 5.5.4 Error: XVERP requires non-null sender");
  EXPECT_FALSE(ParseMail("FROM:<>", may, &mail));
  EXPECT_FALSE(RefuseVerpOfNullSender(mail));
  EXPECT_FALSE(ParseMail("FROM:<a@b> XVERP", may, &mail));
  EXPECT_FALSE(RefuseVerpOfNullSender(mail));
  EXPECT_EQ(MailError("FROM:<a@b> XVERPX", may), "555 5.5.4 Unsupported option: XVERPX");
}

TEST(ParseMail, ASizeOfTooManyDigitsIsTooBig) {
  EXPECT_EQ(MailError("FROM:<a@b> SIZE=99999999999999999999"),
            "552 5.3.4 Message size exceeds file system imposed limit");
}

TEST(Path, ADomainOfDigitsAndDotsIsNone) {
  for (const char* domain : {"192.0.2.1", "2130706433", "1"}) {
    EXPECT_EQ(MailError("FROM:<a@" + std::string(domain) + ">"),
              "501 5.1.7 Bad sender address syntax")
        << domain;
  }
  EXPECT_EQ(RcptError("TO:<a@1.example>"), "good a@1.example");
}

TEST(Path, ALocalPartThatLooksLikeAnOptionIsRefusedWhereThatIsWanted) {
  const PathSyntax syntax = {.allow_min_user = false};
  EXPECT_EQ(RcptError("TO:<-oQ/tmp@b>", syntax), "501 5.1.3 Bad recipient address syntax");
  EXPECT_EQ(MailError("FROM:<-a@b>", syntax), "501 5.1.7 Bad sender address syntax");
  EXPECT_EQ(RcptError("TO:<a-b@b>", syntax), "good a-b@b");
  EXPECT_EQ(RcptError("TO:<-a@b>"), "good -a@b");
}

TEST(Rfc6531_3, NonAsciiDomainsNeedSmtpUtf8) {
  EXPECT_EQ(MailError("FROM:<a@\xc3\xa4> SMTPUTF8"), "good a@\xc3\xa4");
  EXPECT_EQ(MailError("FROM:<a@\xc3\xa4>"), "501 5.1.7 Bad sender address syntax");
  EXPECT_EQ(MailError("FROM:<a@\xc3\xa4> SMTPUTF8", {.smtputf8 = false}),
            "501 5.1.7 Bad sender address syntax");
  EXPECT_EQ(RcptError("TO:<a@\xc3\xa4>", kDefault, true), "good a@\xc3\xa4");
  EXPECT_EQ(RcptError("TO:<a@\xc3\xa4>"), "501 5.1.3 Bad recipient address syntax");
}

TEST(Rfc6531_3, NonAsciiLocalPartsNeedSmtpUtf8OnlyWhereThatIsStrict) {
  EXPECT_EQ(MailError("FROM:<\xc3\xa4@b>"), "good \xc3\xa4@b");
  EXPECT_EQ(MailError("FROM:<\xc3@b> SMTPUTF8"), "501 5.1.7 Bad sender address syntax");
  const PathSyntax strict = {.strict_smtputf8 = true};
  EXPECT_EQ(MailError("FROM:<\xc3\xa4@b> SMTPUTF8", strict), "good \xc3\xa4@b");
  EXPECT_EQ(MailError("FROM:<\xc3\xa4@b>", strict),
            "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
  EXPECT_EQ(RcptError("TO:<\xc3\xa4@b>", strict),
            "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
}

TEST(ParseMail, StrictEnvelopesNeedBrackets) {
  EXPECT_EQ(MailError("FROM:a@b", {.path = {.strict = true}}),
            "501 5.1.7 Bad sender address syntax");
}

TEST(Rfc5321_4_1_1_3, RcptTakesAPath) {
  EXPECT_EQ(RcptError("TO:<@relay:user@Example.org>"), "good user@Example.org");
  EXPECT_EQ(RcptError("to:<Postmaster>"), "good Postmaster");
  EXPECT_EQ(RcptError("TO:<>"), "501 5.1.3 Bad recipient address syntax");
  EXPECT_EQ(RcptError("TO:<a@b> SIZE=1"), "555 5.5.4 Unsupported option: SIZE=1");
  EXPECT_EQ(RcptError("FROM:<a@b>"), "501 5.5.4 Syntax: RCPT TO:<address>");
}

TEST(Rfc3461_4, NotifyAndOrcpt) {
  RcptCommand rcpt;
  ASSERT_FALSE(
      ParseRcpt("TO:<a@b> NOTIFY=success,DELAY ORCPT=rfc822;x+2By@z", kDefault, false, &rcpt));
  EXPECT_EQ(rcpt.notify, kNotifySuccess | kNotifyDelay);
  EXPECT_EQ(rcpt.orcpt, "rfc822;x+y@z");
  EXPECT_EQ(RcptError("TO:<a@b> ORCPT=rfc822;"), "good a@b") << "xtext may be empty";
  for (const char* notify : {"NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=x", "NOTIFY=DELAY,",
                             "NOTIFY=DELAY,DELAY", "NOTIFY=NEVER NOTIFY=NEVER"})
    EXPECT_EQ(RcptError("TO:<a@b> " + std::string(notify)),
              "501 5.5.4 Error: Bad NOTIFY parameter syntax")
        << notify;
  for (const char* orcpt :
       {"ORCPT=", "ORCPT=rfc822", "ORCPT=;x", "ORCPT=rfc822;a+", "ORCPT=rfc822;+0D+0A",
        "ORCPT=a\rRSET\r;y", "ORCPT=a@b;y", "ORCPT=\xc3\xa4;y"})
    EXPECT_EQ(RcptError("TO:<a@b> " + std::string(orcpt)),
              "501 5.5.4 Error: Bad ORCPT parameter syntax")
        << orcpt;
}

TEST(Rfc3030_2, BdatTakesASizeAndLast) {
  BdatCommand bdat;
  ASSERT_FALSE(ParseBdat("86 last", &bdat));
  EXPECT_EQ(bdat.size_bytes, 86u);
  EXPECT_TRUE(bdat.last);
  ASSERT_FALSE(ParseBdat("0", &bdat));
  EXPECT_FALSE(bdat.last);
  for (const char* arguments : {"", "x", "-1", "1 LASTT", "1 LAST x", "LAST"})
    EXPECT_EQ(ParseBdat(arguments, &bdat)->ToLogText(), "521 5.5.4 Syntax: BDAT count [LAST]")
        << arguments;
}

TEST(Rfc6533_3, AddressesInUtf8HaveAnEncodingOfTheirOwn) {
  EXPECT_EQ(DecodeUtf8Xtext("\xc3\xa4@b"), "\xc3\xa4@b");
  EXPECT_EQ(DecodeUtf8Xtext(R"(\x{E4}\x{1F600}\x{2B}@b)"), "\xc3\xa4\xf0\x9f\x98\x80+@b");
  for (const char* text : {"\\", "\\x{", "\\x{}", "\\x{0}", "\\x{D800}", "\\x{110000}",
                           "\\x{1234567}", "\\x{g}", "\\y", "a+b", "a=b", "a b", "\xff"}) {
    EXPECT_FALSE(DecodeUtf8Xtext(text)) << text;
  }
  const std::string all = "a+=\\\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f z";
  EXPECT_EQ(EncodeUtf8Xtext(all), R"(a\x{2B}\x{3D}\x{5C}\x{E4}\x{20AC}\x{1F600}\x{7F}\x{20}z)");
  EXPECT_EQ(DecodeUtf8Xtext(EncodeUtf8Xtext(all)), all);
  RcptCommand rcpt;
  ASSERT_FALSE(ParseRcpt("TO:<a@b> ORCPT=utf-8;\\x{E4}@z", kDefault, false, &rcpt));
  EXPECT_EQ(rcpt.orcpt, "utf-8;\xc3\xa4@z");
}

TEST(Rfc3461_4_Xtext, EncodedTextDecodesBack) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(DecodeXtext(EncodeXtext(all)), all);
  EXPECT_EQ(EncodeXtext("a+b=c d"), "a+2Bb+3Dc+20d");
  for (const char* text : {"+", "+2", "+2b", "+GG", "a b", "a=b"})
    EXPECT_FALSE(DecodeXtext(text)) << text;
}

}  // namespace
}  // namespace postfleet::smtp
