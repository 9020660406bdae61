#include "libs/message/downgrade.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "libs/message/cleanup.h"

namespace postfleet::message {
namespace {

std::string InPieces(std::string_view in, size_t piece_bytes, DowngradeOptions options = {}) {
  Downgrade downgrade(options);
  std::string out;
  for (size_t at = 0; at < in.size(); at += piece_bytes) {
    downgrade.Take(in.substr(at, piece_bytes), &out);
  }
  downgrade.Finish(&out);
  return out;
}

std::string Converted(std::string_view in, DowngradeOptions options = {}) {
  const std::string whole = InPieces(in, in.size() + 1, options);
  for (size_t bytes : {1, 2, 7, 2047, 2048})
    EXPECT_EQ(InPieces(in, bytes, options), whole) << bytes;
  return whole;
}

constexpr std::string_view kEightBit =
    "MIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\nSubject: x\n\n";
constexpr std::string_view kEncoded =
    "MIME-Version: 1.0\nSubject: x\nContent-Transfer-Encoding: quoted-printable\n\n";

std::string Body(std::string_view body) {
  const std::string out = Converted(std::string(kEightBit) + std::string(body));
  EXPECT_EQ(out.substr(0, kEncoded.size()), kEncoded);
  return out.substr(std::min(out.size(), kEncoded.size()));
}

TEST(Downgrade, WithoutADeclarationNothingChanges) {
  for (std::string_view mail :
       {"Subject: \xc3\xa4\n\nb\xc3\xa4=\n", "Subject: x\n\n", "Subject: x\n",
        "Content-Transfer-Encoding: 7bit\n\n\xe4\n", "Content-Transfer-Encoding: base64\n\n4Pg=\n",
        "Content-Transfer-Encoding: quoted-printable\n\n=E4\xe4 \n",
        "Content-Transfer-Encoding: x-uuencode\n\n\xe4\n",
        "Content-Type: multipart/mixed; boundary=b\n\n\xe4\n--b\n\n\xe4\n--b--\n\xe4\n"}) {
    EXPECT_EQ(Converted(mail), mail);
  }
}

TEST(Downgrade, DeclaredBodiesBecomeQuotedPrintable) {
  EXPECT_EQ(Body("gr\xc3\xbc=\xdf\n\ttab\x7f\x01\n"), "gr=C3=BC=3D=DF\n\ttab=7F=01\n");
  EXPECT_EQ(Body(""), "");
  EXPECT_EQ(Body(std::string("a\0b\n", 4)), "a=00b\n");
}

TEST(Downgrade, NamesOfEncodingsHaveNoCaseAndMayHaveComments) {
  for (std::string_view value : {"8BIT", "binary", "\n (why (not) \\) ) 8bit", "8bit; x=y"}) {
    EXPECT_EQ(Converted("Content-Transfer-Encoding:" + std::string(value) + "\n\n\xe4\n"),
              "Content-Transfer-Encoding: quoted-printable\n\n=E4\n");
  }
  for (std::string_view value : {"\"8bit\"", "x8bit", "8-bit", "x 8bit", ";8bit"}) {
    const std::string mail = "Content-Transfer-Encoding: " + std::string(value) + "\n\n\xe4\n";
    EXPECT_EQ(Converted(mail), mail);
  }
}

TEST(Downgrade, LinesOfTheEncoderHave76BytesAtMost) {
  EXPECT_EQ(Body(std::string(73, 'a') + "\n"), std::string(73, 'a') + "\n");
  EXPECT_EQ(Body(std::string(74, 'a') + "\n"), std::string(73, 'a') + "=\na\n");
  EXPECT_EQ(Body(std::string(72, 'a') + "\xe4\xe4\n"), std::string(72, 'a') + "=E4=\n=E4\n");
}

TEST(Downgrade, BlanksAtTheEndOfALineAreEncoded) {
  EXPECT_EQ(Body("a  \n\t\n \n"), "a =20\n=09\n=20\n");
}

TEST(Downgrade, LinesOver2048BytesAreOneLine) {
  const std::string out = Body(std::string(5000, 'a') + "\n");
  EXPECT_EQ(out.size(), 5000 + 5000 / 73 * 2 + 1);
}

TEST(Downgrade, PartsSpeakForThemselves) {
  EXPECT_EQ(Converted("Content-Type: multipart/mixed; charset=x; boundary=\"b b\"\n"
                      "Content-Transfer-Encoding: 8bit\n\nprologue \xe4\n"
                      "--b b\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\n\xe4\n"
                      "--b b\n\nplain \xe4\n"
                      "--b b\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\n\xe4\n"
                      "--b b--\nepilogue \xe4\n"),
            "Content-Type: multipart/mixed; charset=x; boundary=\"b b\"\n"
            "Content-Transfer-Encoding: 7bit\n\nprologue \xe4\n"
            "--b b\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n"
            "--b b\n\nplain \xe4\n"
            "--b b\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n"
            "--b b--\nepilogue \xe4\n");
}

TEST(Downgrade, OuterBoundariesEndInnerParts) {
  EXPECT_EQ(Converted("Content-Type: multipart/mixed; boundary=out\n\n"
                      "--out\nContent-Type: multipart/mixed; boundary=in\n\n"
                      "--in\nContent-Transfer-Encoding: 8bit\n\n\xe4\n"
                      "--out\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--in--\n\xe4\n--out--\n"),
            "Content-Type: multipart/mixed; boundary=out\n\n"
            "--out\nContent-Type: multipart/mixed; boundary=in\n\n"
            "--in\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n"
            "--out\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n--in--\n=E4\n--out--\n");
}

TEST(Downgrade, BoundariesStandAtTheStartOfALineOnly) {
  const std::string head = "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
  const std::string line = std::string(2048, 'x') + "--b--\n";
  const std::string out = Converted(head + "Content-Transfer-Encoding: 8bit\n\n" + line + "\xe4\n");
  EXPECT_TRUE(out.ends_with("--b--\n=E4\n")) << out;
}

TEST(Downgrade, EnclosedMessagesAreLookedInto) {
  const std::string head = "Content-Type: message/rfc822\n";
  EXPECT_EQ(Converted(head + "Content-Transfer-Encoding: 8bit\n\nSubject : \xe4\n"
                             "Content-Transfer-Encoding: 8bit\n\n\xe4\n"),
            head +
                "Content-Transfer-Encoding: 7bit\n\nSubject: \xe4\n"
                "Content-Transfer-Encoding: quoted-printable\n\n=E4\n");
}

TEST(Downgrade, MessagesInUtf8AreEncodedWholeIfTheyAreDeclared) {
  const std::string head = "Content-Type: message/global\n";
  const std::string inner = "Content-Transfer-Encoding: 8bit\n\n\xe4\n";
  EXPECT_EQ(Converted(head + "Content-Transfer-Encoding: 8bit\n\n" + inner),
            head + "Content-Transfer-Encoding: quoted-printable\n\n" +
                "Content-Transfer-Encoding: 8bit\n\n=E4\n");
  EXPECT_EQ(Converted(head + "\n" + inner),
            head + "\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n");
}

TEST(Downgrade, PartsOfADigestAreMessages) {
  EXPECT_EQ(Converted("Content-Type: multipart/digest; boundary=b\n\n"
                      "--b\n\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--b--\n"),
            "Content-Type: multipart/digest; boundary=b\n\n"
            "--b\n\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n--b--\n");
}

TEST(Downgrade, OtherMessagesAreNotLookedInto) {
  EXPECT_EQ(Converted("Content-Type: message/partial\nContent-Transfer-Encoding: 8bit\n\n"
                      "Subject: \xe4\n"),
            "Content-Type: message/partial\nContent-Transfer-Encoding: 7bit\n\nSubject: =E4\n");
}

TEST(Downgrade, AMessageThatIsHeaderOnlyHasItsEncodingChanged) {
  EXPECT_EQ(Converted("Content-Transfer-Encoding: 8bit\nSubject: x\n"),
            "Subject: x\nContent-Transfer-Encoding: quoted-printable\n");
}

TEST(Downgrade, BodiesWithoutAnEmptyLineGetOneInTheMessageButNotInParts) {
  EXPECT_EQ(Converted("Content-Transfer-Encoding: 8bit\nno field \xe4\n"),
            "Content-Transfer-Encoding: quoted-printable\n\nno field =E4\n");
  EXPECT_EQ(Converted("Content-Type: multipart/mixed; boundary=b\n\n"
                      "--b\nContent-Transfer-Encoding: 8bit\nno field \xe4\n--b--\n"),
            "Content-Type: multipart/mixed; boundary=b\n\n"
            "--b\nContent-Transfer-Encoding: quoted-printable\nno field =E4\n--b--\n");
}

TEST(Downgrade, AnUnfinishedLastLineGetsItsEnd) {
  EXPECT_EQ(Converted("Subject: x\n\nend"), "Subject: x\n\nend\n");
  EXPECT_EQ(Converted("Subject: x"), "Subject: x\n");
  EXPECT_EQ(Body("end "), "end=20\n");
  EXPECT_EQ(Converted(""), "");
}

TEST(Downgrade, BoundariesAreFoundInTheFirst2048BytesOfALineOnly) {
  const auto mail = [](size_t bytes, std::string_view encoding, std::string_view body) {
    const std::string boundary(bytes, 'b');
    return "Content-Type: multipart/mixed; boundary=" + boundary + "\n\n--" + boundary +
           "\nContent-Transfer-Encoding: " + std::string(encoding) + "\n\n" + std::string(body);
  };
  EXPECT_EQ(Converted(mail(2045, "8bit", "\xe4\n")), mail(2045, "quoted-printable", "=E4\n"));
  EXPECT_EQ(Converted(mail(2046, "8bit", "\xe4\n")), mail(2046, "8bit", "\xe4\n"));
}

TEST(Downgrade, BoundariesAreComparedUpToTheirLimit) {
  const std::string mail =
      "Content-Type: multipart/mixed; boundary=abcdef\n\n--abcxyz\nContent-Transfer-Encoding: ";
  EXPECT_EQ(Converted(mail + "8bit\n\n\xe4\n", {.boundary_bytes_max = 3}),
            mail + "quoted-printable\n\n=E4\n");
  EXPECT_EQ(Converted(mail + "8bit\n\n\xe4\n"), mail + "8bit\n\n\xe4\n");
}

std::string Nested(int depth) {
  std::string mail;
  for (int i = 0; i < depth; ++i) {
    const std::string boundary = "b" + std::to_string(1000 + i);
    mail += "Content-Type: multipart/mixed; boundary=" + boundary + "\n\n--" + boundary + "\n";
  }
  return mail;
}

TEST(Downgrade, NestingHasALimit) {
  const auto too_deep = [](const std::string& mail) {
    Downgrade downgrade;
    std::string out;
    downgrade.Take(mail, &out);
    downgrade.Finish(&out);
    return downgrade.too_deep();
  };
  EXPECT_FALSE(too_deep(Nested(102)));
  EXPECT_TRUE(too_deep(Nested(103)));
}

TEST(Downgrade, FieldsAreCutAtTheirLimitAndNeverEndTheHeader) {
  std::string mail = "X: ";
  for (int i = 0; i < 100; ++i) mail += std::string(98, 'x') + "\n ";
  mail += "\nSubject: x\n\nbody\n";
  const std::string out = Converted(mail, {.header_bytes_max = 3002});
  EXPECT_EQ(out.substr(out.size() - 20), "xx\nSubject: x\n\nbody\n");
  EXPECT_LE(out.size(), 3002 + sizeof("\nSubject: x\n\nbody\n"));
}

class Upper : public HeaderEditor {
 public:
  void OnField(std::string_view name, std::string* field) override {
    if (name == "x-drop") return field->clear();
    if (name == "subject") *field = "Subject: Y";
  }
  void OnHeaderEnd(std::string*) override {}
};

TEST(Downgrade, AnEditorSeesTheFieldsOfTheMessageAlone) {
  Upper editor;
  const std::string part = "--b\nSubject: x\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--b--\n";
  const std::string head = "Content-Type: multipart/mixed; boundary=b\n";
  EXPECT_EQ(
      Converted(head + "SUBJECT : x\nX-Drop: x\n\n" + part, {.convert = false, .editor = &editor}),
      head + "Subject: Y\n\n" + part);
}

}  // namespace
}  // namespace postfleet::message
