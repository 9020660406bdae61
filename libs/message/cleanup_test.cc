#include "libs/message/cleanup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <sstream>

#include "libs/message/header.h"

namespace postfleet::message {
namespace {

std::string Clean(std::string_view content, CleanupOptions options = {},
                  std::string prepended = "") {
  Cleanup cleanup(options, prepended);
  std::string out;
  cleanup.Append(content, &out);
  cleanup.Finish(&out);
  EXPECT_EQ(cleanup.output_bytes(), out.size());
  return out;
}

TEST(Cleanup, OrdinaryMailPasses) {
  const std::string mail =
      "From: a@b\nname:v\nSubject: x\n y\nStatus: R\n\nline\n\n.dot\nName : v\nFrom x\n";
  EXPECT_EQ(Clean(mail), mail);
}

TEST(Cleanup, PrependedFieldsComeFirst) {
  EXPECT_EQ(Clean("A: b\n\nc\n", {}, "Received: x\n\ty\nP: q\n"),
            "Received: x\n\ty\nP: q\nA: b\n\nc\n");
}

TEST(MessageDropHeaders, TopHeaderOnly) {
  EXPECT_EQ(Clean("BCC: a\n b\nA: b\nContent-Length: 1\nresent-bcc: x\nReturn-Path : y\nBccc: "
                  "z\n\nBcc: body\n"),
            "A: b\nBccc: z\n\nBcc: body\n");
}

TEST(Cleanup, MailboxLineIsRenamed) {
  EXPECT_EQ(Clean("From a@b Sat\nA: b\n\nc\n"), "X-Mailbox-Line: From a@b Sat\nA: b\n\nc\n");
  EXPECT_EQ(Clean("A: b\n\nFrom c\n"), "A: b\n\nFrom c\n") << "in the body it stays";
}

TEST(Cleanup, SecondMailboxLineStartsTheBody) {
  EXPECT_EQ(Clean("From a\nFrom b\nA: b\n"), "X-Mailbox-Line: From a\n\nFrom b\nA: b\n");
}

TEST(Cleanup, SendmailsMailboxLinesAreDeleted) {
  EXPECT_EQ(Clean("From a\n>From b\nA: b\n\nc\n",
                  {.mailbox_lines = CleanupOptions::MailboxLines::kDelete}),
            "A: b\n\nc\n");
  const std::string long_line = "From " + std::string(5000, 'x') + "\nA: b\n\nc\n";
  EXPECT_EQ(Clean(long_line, {.mailbox_lines = CleanupOptions::MailboxLines::kDelete}),
            "A: b\n\nc\n");
}

TEST(Cleanup, EmptyLineIsPutInFrontOfABody) {
  EXPECT_EQ(Clean("hello\n"), "\nhello\n") << "a first line that is no field";
  EXPECT_EQ(Clean(" x: y\nA: b\n"), "\n x: y\nA: b\n") << "a first line that starts with a blank";
  EXPECT_EQ(Clean("A: b\nbody\n"), "A: b\n\nbody\n") << "a body right under the header";
  EXPECT_EQ(Clean("\nbody\n"), "\nbody\n");
}

TEST(Cleanup, BlanksBeforeTheColonGoAway) {
  EXPECT_EQ(Clean("Name : v\nB\t :w\nname:v\n\n"), "Name: v\nB:w\nname:v\n\n");
}

TEST(ReplaceStrayCrLf, EachCrBecomesABlank) {
  EXPECT_EQ(Clean("A: o\rne\r\n\no\rne\n\r\nx\r\r\n"), "A: o ne \n\no ne\n \nx  \n");
  EXPECT_EQ(Clean("A\r: b\n\n"), "A: b\n\n") << "before every check";
  EXPECT_EQ(Clean("A: b\n\r\nB: c\n\n"), "A: b\n \nB: c\n\n")
      << "a line of CR alone is no empty line";
  EXPECT_EQ(Clean("A: o\rne\n\nx\ry\n", {.replace_stray_cr = false}), "A: o\rne\n\nx\ry\n");
}

TEST(HeaderSizeLimit, LongFieldIsCutAndTheRestIsLost) {
  EXPECT_EQ(Clean("A: 123456789\n more\nB: c\n\nx\n", {.header_bytes_max = 8}),
            "A: 12345\nB: c\n\nx\n");
  const std::string wide(300000, 'w');
  EXPECT_EQ(Clean("A: " + wide + "\nB: c\n\nx\n"),
            "A: " + wide.substr(0, 102397) + "\nB: c\n\nx\n");
}

TEST(HeaderSizeLimit, NameAndColonAreKept) {
  EXPECT_EQ(Clean("Long-Name : v\nB: c\n\nx\n", {.header_bytes_max = 4}),
            "Long-Name:\nB: c\n\nx\n");
}

TEST(HeaderSizeLimit, CutBehindALineEndDoesNotEndTheHeader) {
  EXPECT_EQ(Clean("A: b\n c\nB: c\n\nx\n", {.header_bytes_max = 5}), "A: b\nB: c\n\nx\n");
}

TEST(HopcountLimit, FiftyReceivedFieldsAreTooMany) {
  for (int incoming : {48, 49}) {
    std::string mail;
    for (int i = 0; i < incoming; ++i) mail += "RECEIVED: x\n\ty\n";
    Cleanup cleanup({}, "Received: ours\n");
    std::string out;
    cleanup.Append(mail + "\nReceived: body\n", &out);
    EXPECT_EQ(cleanup.hop_count(), incoming + 1);
    EXPECT_EQ(cleanup.too_many_hops(), incoming == 49);
  }
}

// "message-id VALUE", "resent-message-id VALUE" or "TEXT: what has it" for each note.
std::vector<std::string> NotesOf(std::string_view content, const CleanupOptions& options = {},
                                 std::string prepended = "") {
  Cleanup cleanup(options, std::move(prepended));
  std::string out;
  cleanup.Append(content, &out);
  cleanup.Finish(&out);
  std::vector<std::string> notes;
  for (const CleanupNote& note : cleanup.TakeNotes()) {
    const bool id = note.kind != CleanupNote::kDefect;
    const std::string_view resent = note.kind == CleanupNote::kResentMessageId ? "resent-" : "";
    notes.push_back(std::string(id ? resent : DefectText(note.defect)) +
                    (id ? "message-id " : ": ") + note.text);
  }
  return notes;
}
using Notes = std::vector<std::string>;

TEST(Cleanup, NotesEachMessageId) {
  EXPECT_EQ(NotesOf("Message-ID:\n <a@b>\nmessage-id: <c@d> \nResent-Message-Id: <r@s>\n\n"
                    "Message-Id: <body>\n"),
            (Notes{"message-id <a@b>", "message-id <c@d> ", "resent-message-id <r@s>"}));
  EXPECT_EQ(NotesOf("Message-Id:\n\n"), Notes{"message-id "});
  EXPECT_EQ(NotesOf("Resent-Message-Id: a\n"), (Notes{"resent-message-id a", "message-id <>"}));
  EXPECT_EQ(NotesOf("A: b\n\n"), Notes{"message-id <>"});
}

TEST(Cleanup, NotesMessageIdsThatAreDropped) {
  EXPECT_EQ(NotesOf("Message-Id: a\n", {.drop_headers = {"message-id"}}), Notes{"message-id a"});
}

TEST(Cleanup, NotesNothingBehindTooManyHops) {
  EXPECT_EQ(NotesOf("Message-Id: a\nReceived: x\nMessage-Id: b\n\n", {.hop_count_max = 1}),
            Notes{"message-id a"});
}

TEST(Cleanup, NotesNoMoreThanItsLimit) {
  std::string mail;
  for (int i = 0; i < 1000; ++i) mail += "Message-Id: a\n";
  EXPECT_EQ(NotesOf(mail).size(), Cleanup::kNotesMax);
}

// What is added to mail of local origin; every expected value was seen on Postfix 3.7.11.
const AddressRewriting kLocal = {.origin = "example.com", .domain = "example.com"};

CleanupOptions LocalOptions(std::string_view sender = "snd@example.org") {
  return {.rewriting = &kLocal,
          .missing = MissingFields{.queue_id = "4jXQUEUEID",
                                   .myhostname = "mx.example.com",
                                   .sender = sender,
                                   .time = {.seconds = 1'795'381'572}}};
}
constexpr std::string_view kId = "Message-Id: <4jXQUEUEID@mx.example.com>\n";
constexpr std::string_view kDate = "Date: Sun, 22 Nov 2026 21:06:12 +0000 (UTC)\n";
constexpr std::string_view kFrom = "From: snd@example.org\n";

std::string Lines(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (std::string_view part : parts) all += part;
  return all;
}

TEST(MissingFields, FollowTheHeaderInPostfixsOrder) {
  EXPECT_EQ(Clean("A: b\n\nc\n", LocalOptions()), Lines({"A: b\n", kId, kDate, kFrom, "\nc\n"}));
  EXPECT_EQ(Clean("A: b\n", LocalOptions()), Lines({"A: b\n", kId, kDate, kFrom}));
  EXPECT_EQ(Clean("c\n", LocalOptions()), Lines({kId, kDate, kFrom, "\nc\n"}));
  EXPECT_EQ(Clean("date: x\nMESSAGE-ID : <y>\n\nc\n", LocalOptions()),
            Lines({"date: x\nMESSAGE-ID: <y>\n", kFrom, "\nc\n"}));
}

TEST(MissingFields, AreNotAddedToMailOfOthers) { EXPECT_EQ(Clean("A: b\n"), "A: b\n"); }

TEST(MissingFields, AreResentOnesWhereThereIsAnyOfThem) {
  EXPECT_EQ(
      Clean("Resent-To: bob\n", LocalOptions()),
      Lines({"Resent-To: bob@example.com\nResent-", kId, "Resent-", kDate, "Resent-", kFrom}));
  EXPECT_EQ(Clean("Message-Id: <q>\nResent-Date: x\n", LocalOptions()),
            Lines({"Message-Id: <q>\nResent-Date: x\nResent-", kId, "Resent-", kFrom}));
  EXPECT_EQ(Clean("Resent-Bcc: x\n", LocalOptions()),
            Lines({"Resent-", kId, "Resent-", kDate, "Resent-", kFrom}))
      << "one that was dropped counts too";
  EXPECT_EQ(Clean("Resent-Foo: x\n", LocalOptions()),
            Lines({"Resent-Foo: x\n", kId, kDate, kFrom}));
}

TEST(MissingFields, SenderIsWrittenAsHeadersWant) {
  EXPECT_EQ(Clean("Date: x\nMessage-Id: y\n", LocalOptions("")),
            "Date: x\nMessage-Id: y\nFrom: MAILER-DAEMON\n");
  EXPECT_EQ(Clean("Date: x\nMessage-Id: y\n", LocalOptions("a b@c.d")),
            "Date: x\nMessage-Id: y\nFrom: \"a b\"@c.d\n");
}

TEST(MissingFields, UndisclosedRecipientsOnlyWhereNoneIsNamed) {
  CleanupOptions options = LocalOptions();
  options.missing->undisclosed_recipients = "To: undisclosed-recipients:;";
  const std::string complete = "Date: x\nMessage-Id: y\nFrom: a@b\n";
  EXPECT_EQ(Clean(complete, options), complete + "To: undisclosed-recipients:;\n");
  EXPECT_EQ(Clean("Apparently-To: c@d\n" + complete, options),
            "Apparently-To: c@d\n" + complete + "To: undisclosed-recipients:;\n");
  EXPECT_EQ(Clean(complete + "Cc: c@d\n", options), complete + "Cc: c@d\n");
}

TEST(MissingFields, TheAddedMessageIdIsTheMessages) {
  EXPECT_EQ(NotesOf("A: b\n\n", LocalOptions()), Notes{"message-id <4jXQUEUEID@mx.example.com>"});
  EXPECT_EQ(NotesOf("Resent-To: b\n\n", LocalOptions()),
            (Notes{"resent-message-id <4jXQUEUEID@mx.example.com>", "message-id <>"}));
}

TEST(Rewriting, FieldsWithoutAddressesStay) {
  const CleanupOptions options = {.rewriting = &kLocal};
  EXPECT_EQ(Clean("X-To: u\nSubject: u\nTo: u\nBody: u\n\nTo: u\n", options),
            "X-To: u\nSubject: u\nTo: u@example.com\nBody: u\n\nTo: u\n");
  for (const char* name :
       {"From", "Sender", "Reply-To", "Errors-To", "Return-Receipt-To",
        "Disposition-Notification-To", "Mail-Followup-To", "Resent-From", "Resent-Sender", "To",
        "Cc", "Apparently-To", "Resent-To", "Resent-Cc", "Resent-Reply-To"}) {
    EXPECT_EQ(Clean(std::string(name) + ": u\n", options), std::string(name) + ": u@example.com\n");
  }
}

TEST(Rewriting, FieldsThatGrowAreCutAgain) {
  EXPECT_EQ(Clean("To: u\n", {.header_bytes_max = 10, .rewriting = &kLocal}), "To: u@exam\n");
  const std::string long_list = "To: " + std::string(60, 'a') + ", b\n\nx\n";
  for (size_t max = 70; max < 95; ++max) {
    const std::string cut = Clean(long_list, {.header_bytes_max = max, .rewriting = &kLocal});
    EXPECT_EQ(cut.find("\n\n"), cut.size() - 4) << max;
  }
}

TEST(Rewriting, TokensBehindTheLimitAreLostThoughAllIsComplete) {
  AddressRewriting rules = kLocal;
  rules.tokens_max = 10;
  EXPECT_EQ(Clean("To: a@b.c, d@e.f, g@h.i\n", {.rewriting = &rules}), "To: a@b.c, d@e\n");
}

TEST(Cleanup, NotesBytesOver127) {
  for (const char* mail :
       {"A: \xc3\xa4\n\nx\n", "A: b\n\n0123456789\xc3\xa4 and more\n", "A: b\n\nx\n"}) {
    Cleanup cleanup({}, "");
    std::string out;
    cleanup.Append(mail, &out);
    cleanup.Finish(&out);
    EXPECT_EQ(cleanup.header_has_8bit(), mail[3] == '\xc3') << mail;
    EXPECT_EQ(cleanup.body_has_8bit(), mail[6] == '0') << mail;
  }
}

TEST(Cleanup, NotesAHeaderThatSaysEightBits) {
  const std::pair<const char*, bool> cases[] = {
      {"Subject: x\n\nContent-Transfer-Encoding: 8bit\n", false},
      {"Content-Transfer-Encoding: 8Bit\n\nx\n", true},
      {"content-transfer-encoding:binary\n\nx\n", true},
      {"Content-Transfer-Encoding:\n 8bit\n\nx\n", true},
      {"Content-Transfer-Encoding: 8bit \n\nx\n", false},
      {"Content-Transfer-Encoding: 8bit (x)\n\nx\n", false},
      {"Content-Transfer-Encoding: 7bit\n\nx\n", false},
      {"Content-Transfer-Encoding: base64\n", false},
      {"Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 7bit\n\nx\n", true},
      {"Content-Type: message/rfc822\n\nContent-Transfer-Encoding: 8bit\n", true},
  };
  for (const auto& [mail, expected] : cases) {
    Cleanup cleanup({}, "");
    std::string out;
    cleanup.Append(mail, &out);
    cleanup.Finish(&out);
    EXPECT_EQ(cleanup.says_8bit(), expected) << mail;
  }
}

TEST(Cleanup, OurOwnFieldsAreCutAndDroppedAsAll) {
  EXPECT_EQ(Clean("A: b\n", {.header_bytes_max = 12}, "Received: xyz\n\ty\nP: q\n"),
            "Received: xy\nP: q\nA: b\n");
  EXPECT_EQ(Clean("A: b\n", {.drop_headers = {"received"}}, "Received: x\nP: q\n"), "P: q\nA: b\n");
}

TEST(Cleanup, ContentNeverContinuesOurOwnFields) {
  EXPECT_EQ(Clean("\rx\n", {}, "Received: x\n"), "Received: x\n\n x\n");
}

TEST(Cleanup, NulEndsALineOfAField) {
  EXPECT_EQ(Clean(std::string_view("A: b\0c\n d\0e\n f\n\nx\0y\n", 20)),
            std::string_view("A: b\n d\n f\n\nx\0y\n", 16));
}

constexpr std::string_view kParts =
    "Content-Type: multipart/mixed; boundary=b\n\nPro : log\n--b\nA : b\n c : d\n\nNo : field\n"
    "--b\nContent-Type: message/rfc822\n\nBcc : inner\ntext\n--b--\nEpi : log\n";

TEST(Cleanup, HeadersOfPartsAreHeaders) {
  EXPECT_EQ(
      Clean(kParts),
      "Content-Type: multipart/mixed; boundary=b\n\nPro : log\n--b\nA: b\n c : d\n\nNo : field\n"
      "--b\nContent-Type: message/rfc822\n\nBcc: inner\ntext\n--b--\nEpi : log\n");
  EXPECT_EQ(Clean(kParts, {.mime = false}), kParts);
}

TEST(Cleanup, SplitsOfPartsChangeNothing) {
  const std::string whole = Clean(kParts);
  for (size_t piece = 1; piece < 20; ++piece) {
    Cleanup cleanup({}, "");
    std::string out;
    for (size_t at = 0; at < kParts.size(); at += piece) {
      cleanup.Append(kParts.substr(at, piece), &out);
    }
    cleanup.Finish(&out);
    EXPECT_EQ(out, whole) << piece;
  }
}

TEST(Cleanup, FieldsOfPartsAreCutAndEndAtANul) {
  EXPECT_EQ(Clean("Content-Type: message/rfc822\n\nA: " + std::string(50, 'x') + "\n\n",
                  {.header_bytes_max = 30}),
            "Content-Type: message/rfc822\n\nA: " + std::string(27, 'x') + "\n\n");
}

TEST(Cleanup, BoundariesLieInTheFirstBytesOfALine) {
  const std::string mail = "Content-Type: multipart/mixed; boundary=b\n\n" +
                           std::string(2048, 'x') + "--b\nA : b\n--b" + std::string(5000, 'y') +
                           "\nA : b\n";
  std::string expected = mail;
  expected.replace(expected.rfind(" : "), 3, ": ");
  EXPECT_EQ(Clean(mail), expected);
}

TEST(Cleanup, OnlyWhatCannotHavePartsIsABodyAlone) {
  for (const auto& [type, alone] : {std::pair{"text/plain", true},
                                    {"message/rfc822", false},
                                    {"message/partial", true},
                                    {"multipart/mixed; boundary=b", false},
                                    {"multipart/mixed", true}}) {
    Cleanup cleanup({}, "");
    std::string out;
    cleanup.Append("Content-Type: " + std::string(type) + "\n\n", &out);
    EXPECT_EQ(cleanup.in_body(), alone) << type;
  }
}

TEST(Cleanup, BodyIsAloneBehindTheLastBoundary) {
  Cleanup cleanup({}, "");
  std::string out;
  cleanup.Append("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n", &out);
  EXPECT_FALSE(cleanup.in_body());
  cleanup.Append("--b--\nx", &out);
  EXPECT_TRUE(cleanup.in_body());
}

TEST(Strict7BitHeaders, EightBitsInAnyHeaderAreADefect) {
  const CleanupOptions options = {.refuse_header_8bit = true};
  const std::string text = "improper use of 8-bit data in message header: ";
  EXPECT_EQ(NotesOf("A: \xe4\nB: \xe4\n\n\xe4\n", options),
            (Notes{text + "A: \xe4", "message-id <>"}));
  EXPECT_EQ(NotesOf("Content-Type: message/rfc822\n\nA: \xe4\n\n", options),
            (Notes{"message-id <>", text + "A: \xe4"}));
  EXPECT_EQ(NotesOf("A: \xe4\n", {}), Notes{"message-id <>"});
}

TEST(Strict8BitMimeBody, EightBitsThatNobodyDeclaresAreADefect) {
  const CleanupOptions options = {.refuse_body_8bit = true};
  const std::string text = "improper use of 8-bit data in message body: ";
  EXPECT_EQ(NotesOf("A: \xe4\n\nx\n\xe4y\n\xe4z\n", options),
            (Notes{"message-id <>", text + "\xe4y"}));
  EXPECT_EQ(NotesOf("A: b\n\n" + std::string(2048, 'x') + "\xe4\n", options).size(), 2u);
  for (const char* encoding : {"8bit", "binary", "quoted-printable", "base64"}) {
    EXPECT_EQ(
        NotesOf("Content-Transfer-Encoding: " + std::string(encoding) + "\n\n\xe4\n", options),
        Notes{"message-id <>"});
  }
}

TEST(StrictMimeEncodingDomain, WhatHasPartsIsNotEncoded) {
  const auto notes = [](const std::string& type, const std::string& encoding) {
    return NotesOf("Content-Type: " + type + "\nContent-Transfer-Encoding: " + encoding + "\n\n",
                   {.refuse_encoding_domain = true})
        .front();
  };
  const std::string bad = "invalid message/* or multipart/* encoding domain: ";
  EXPECT_EQ(notes("multipart/mixed; boundary=b", "base64"), bad + "base64");
  EXPECT_EQ(notes("message/rfc822", "quoted-printable"), bad + "quoted-printable");
  EXPECT_EQ(notes("message/partial", "8bit"), bad + "8bit");
  for (const char* type : {"message/partial", "message/global", "message/foo", "text/plain"}) {
    EXPECT_EQ(notes(type, "base64"), "message-id <>") << type;
  }
}

TEST(MimeNestingLimit, DeeperIsADefectWhereContentIsChecked) {
  std::string mail;
  for (int i = 0; i < 5; ++i) mail += "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
  CleanupOptions options = {.mime_limits = {.nesting_max = 2}, .refuse_header_8bit = true};
  EXPECT_EQ(NotesOf(mail, options).back(),
            "MIME nesting exceeds safety limit: Content-Type: multipart/mixed; boundary=b");
  options.mime_limits.nesting_max = 3;
  EXPECT_EQ(NotesOf(mail, options), Notes{"message-id <>"});
  EXPECT_EQ(NotesOf(mail, {.mime_limits = {.nesting_max = 2}}), Notes{"message-id <>"});
}

TEST(Cleanup, TheFirstDefectInOrderIsTheReason) {
  Cleanup cleanup({.refuse_header_8bit = true, .refuse_body_8bit = true}, "");
  std::string out;
  cleanup.Append("Content-Type: message/rfc822\n\nx \xe4\n", &out);
  EXPECT_EQ(cleanup.defect(), Defect::kBody8Bit);
  Cleanup both({.refuse_header_8bit = true, .refuse_body_8bit = true}, "");
  both.Append("A: \xe4\n\n\xe4\n", &out);
  EXPECT_EQ(both.defect(), Defect::kHeader8Bit);
}

TEST(MessageStripCharacters, AreGoneInHeaderAndBody) {
  EXPECT_EQ(Clean("Sub\x01ject: x\x01\nA\x01 : b\n\n\x01y\n\x01\n", {.strip_bytes = "\x01\n"},
                  "R: \x01\n"),
            "R: \nSubject: x\nA: b\n\ny\n\n");
}

TEST(MessageRejectCharacters, FirstLineThatHasOneIsNoted) {
  const CleanupOptions options = {.strip_bytes = "\x01", .reject_bytes = "\x01\x02"};
  EXPECT_EQ(NotesOf("A: b\n\nx\ny\x02z\n\x01\n", options),
            (Notes{"message-id <>", "disallowed character: y\x02z"}));
  EXPECT_EQ(NotesOf("A: b\n\nx\x01", options).back(), "disallowed character: x\x01");
  EXPECT_EQ(NotesOf("A: b\n", options, "R: \x02\n").front(), "disallowed character: R: \x02");
}

TEST(ParseCharacters, TakesPostfixsEscapes) {
  EXPECT_EQ(ParseCharacters("a\\0\\t\\\\\\3777\\12x"), std::string("a\0\t\\\xff"
                                                                   "7\nx",
                                                                   8));
  EXPECT_EQ(ParseCharacters(""), "");
  for (const char* bad : {"\\", "\\q", "\\400", "\\9"}) {
    EXPECT_EQ(ParseCharacters(bad), std::nullopt) << bad;
  }
}

TEST(Cleanup, BodyCanBeFilteredInPlace) {
  Cleanup cleanup({}, "");
  std::string out;
  cleanup.Append("A: b\n", &out);
  EXPECT_FALSE(cleanup.in_body());
  cleanup.Append("\n", &out);
  ASSERT_TRUE(cleanup.in_body());
  std::string body = "a\rb\n\xff";
  cleanup.FilterBody(body.data(), body.size());
  EXPECT_EQ(body, "a b\n\xff");
  EXPECT_TRUE(cleanup.body_has_8bit());
  std::string end;
  cleanup.Finish(&end);
  EXPECT_EQ(end, "\n");
}

TEST(Cleanup, UnfinishedLastLineIsEnded) {
  EXPECT_EQ(Clean("A: b\n\nx"), "A: b\n\nx\n");
  EXPECT_EQ(Clean("no field"), "\nno field\n");
}

class Editor : public HeaderEditor {
 public:
  void OnField(std::string_view name, std::string* field) override {
    if (name == "x-drop") field->clear();
    if (name == "subject") *field = "Subject: new\nX-Added: 1";
  }
  void OnHeaderEnd(std::string* fields) override { *fields += "X-Last: z\n"; }
};

TEST(HeaderEditor, DropsChangesAndAppends) {
  Editor editor;
  EXPECT_EQ(Clean("X-Drop: a\n b\nSubject : old\nA: b\nbody\n", {.editor = &editor}),
            "Subject: new\nX-Added: 1\nA: b\nX-Last: z\n\nbody\n");
}

// The same rules over whole lines.
std::string Reference(std::string mail, size_t header_bytes_max) {
  for (char& c : mail) c = c == '\r' ? ' ' : c;
  if (!mail.empty() && mail.back() != '\n') mail += '\n';
  std::istringstream in(mail);
  std::string out, field, line;
  const auto flush = [&] {
    field = field.substr(0, std::max(header_bytes_max, field.find(':') + 1));
    while (!field.empty() && field.back() == '\n') field.pop_back();
    if (!field.empty() && !EqualsIgnoreCase(field.substr(0, field.find(':')), "bcc"))
      out += field + "\n";
    field.clear();
  };
  bool first = true, body = false;
  while (std::getline(in, line)) {
    if (body) {
      out += line + "\n";
      continue;
    }
    if (first && line.rfind("From ", 0) == 0) line = "X-Mailbox-Line: " + line;
    first = false;
    // A piece of line_length_limit shows a line's kind, as in Postfix.
    const size_t name = FieldNameLength(std::string_view(line).substr(0, 2048));
    if (!line.empty() && line[0] == ' ' && !field.empty()) {
      field += "\n" + line;
    } else if (name != 0) {
      flush();
      field = line.substr(0, name) + line.substr(line.find(':', name));
    } else {
      flush();
      body = true;
      out += line.empty() ? "\n" : "\n" + line + "\n";
    }
  }
  flush();
  return out;
}

TEST(Cleanup, RandomSplitsEqualTheReference) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string tokens[] = {"\n",
                                "\r",
                                " ",
                                ":",
                                "A: b\n",
                                "Bcc: x\n",
                                "From ",
                                "c",
                                " d\n",
                                "\n\n",
                                "N : v\n",
                                std::string(2047, 'l'),
                                std::string(900, 'm')};
  for (int round = 0; round < 30000; ++round) {
    std::string mail;
    for (size_t n = random() % 12; n > 0; --n) mail += tokens[random() % std::size(tokens)];
    const size_t limit = random() % 2 ? 102400 : 17 + random() % 3000;
    Cleanup cleanup({.header_bytes_max = limit}, "");
    std::string out;
    for (size_t at = 0; at < mail.size();) {
      const size_t length = 1 + random() % (random() % 2 ? 4 : 3000);
      std::string piece = mail.substr(at, length);
      at += length;
      if (cleanup.in_body() && random() % 2) {
        cleanup.FilterBody(piece.data(), piece.size());
        out += piece;
      } else {
        cleanup.Append(piece, &out);
      }
    }
    cleanup.Finish(&out);
    ASSERT_TRUE(out == Reference(mail, limit)) << testing::PrintToString(mail);
  }
}

}  // namespace
}  // namespace postfleet::message
