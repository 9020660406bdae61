// What tests of the session stand on: a client, a server's part to be played, and whom mail is for.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "services/delivery/smtp/core/session.h"

namespace postfleet::delivery::smtp {

inline std::string Describe(const mail::v1::Outcome& outcome) {
  const char* action = outcome.action() == mail::v1::Outcome::ACTION_SENT       ? "sent"
                       : outcome.action() == mail::v1::Outcome::ACTION_DEFERRED ? "deferred"
                       : outcome.action() == mail::v1::Outcome::ACTION_BOUNCED  ? "bounced"
                                                                                : "undecided";
  return Concat(action, " ", outcome.status(), " ", outcome.text());
}

// Plays a server's part: lines in, and what the client said since the last look out.

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    envelope_.set_sender("from@example.com");
    AddRecipient("one@example.net");
  }

  void AddRecipient(const std::string& address) {
    auto* recipient = recipients_.emplace_back(std::make_unique<mail::v1::Recipient>()).get();
    recipient->set_address(address);
    recipient->set_number(static_cast<uint32_t>(recipients_.size()) + 4);
  }

  // Each line gets its CRLF; one segment.
  void Server(std::initializer_list<std::string_view> lines) {
    std::string bytes;
    for (std::string_view line : lines) ConcatTo(&bytes, line, "\r\n");
    session_.Received(bytes);
  }
  std::string Client() { return std::exchange(session_.output(), {}); }

  std::string Notes() {
    std::string text;
    for (const SessionNote& note : session_.TakeNotes()) {
      ConcatTo(&text, note.is_warning ? "warning: " : "", note.text, "\n");
    }
    return text;
  }
  // Instead of the one that SetUp made.
  void Use(SessionOptions options) {
    options.helo_name = "client.example.com";
    session_.~Session();
    new (&session_) Session(kPeer, "example.net", std::move(options));
  }

  void Begin() {
    Transaction transaction{
        .queue_id = "QX", .envelope = &envelope_, .content_bytes = content_bytes_};
    for (const auto& recipient : recipients_) transaction.recipients.push_back(recipient.get());
    session_.Begin(std::move(transaction));
  }
  void Greet(std::initializer_list<std::string_view> ehlo) {
    session_.Opened();
    Server({"220 mx.example.net ESMTP"});
    Server(ehlo);
    ASSERT_EQ(session_.state(), Session::State::kReady);
    Client();
  }
  void BeginPlain() {
    Greet({"250 mx.example.net"});
    Begin();
  }
  void BeginPipelined() {
    Greet({"250-mx.example.net", "250 PIPELINING"});
    Begin();
  }
  // To the body, one recipient.
  void ToBody() {
    BeginPipelined();
    Server({"250 ok", "250 ok", "354 go on"});
    ASSERT_EQ(session_.state(), Session::State::kBody);
    Client();
  }
  std::vector<std::string> Outcomes() {
    std::vector<std::string> texts;
    for (const mail::v1::Outcome& outcome : session_.outcomes()) texts.push_back(Describe(outcome));
    return texts;
  }

  mail::v1::Envelope envelope_;
  std::vector<std::unique_ptr<mail::v1::Recipient>> recipients_;
  uint64_t content_bytes_ = 1000;
  const Peer kPeer = {.host = "mx.example.net", .address = "192.0.2.1", .port = 25};
  Session session_{kPeer,
                   "example.net",
                   {.helo_name = "client.example.com", .myhostname = "client.example.com"}};
};

}  // namespace postfleet::delivery::smtp
