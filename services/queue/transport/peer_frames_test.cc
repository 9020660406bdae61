#include "services/queue/transport/peer_frames.h"

#include <gtest/gtest.h>

namespace postfleet::queue::transport {
namespace {

PeerMessage Message(const std::string& raft, const std::string& payload = "") {
  PeerMessage message;
  message.shard = 3;
  message.raft = raft;
  if (!payload.empty()) message.payload.push_back(rpc::OwningSlice(payload));
  return message;
}

std::string TextOf(const rpc::Payload& payload) {
  std::string text;
  for (const grpc::Slice& slice : payload) text += rpc::AsView(slice);
  return text;
}

std::vector<PeerMessage> TakeFrame(PeerOutbox* outbox) {
  grpc::ByteBuffer frame;
  if (!outbox->TakeFrame(&frame)) return {};
  auto messages = DecodePeerFrame(frame, 1, 2);
  EXPECT_TRUE(messages.ok()) << messages.status();
  return *std::move(messages);
}

absl::StatusCode CodeOf(const cluster::v1::PeerFrame& head, const std::string& payload) {
  rpc::Payload slices;
  if (!payload.empty()) slices.push_back(rpc::OwningSlice(payload));
  return DecodePeerFrame(rpc::EncodeFrame(head, slices), 1, 2).status().code();
}

TEST(PeerFrames, MessagesComeAsTheyWereWithTheirPayloads) {
  PeerOutbox outbox;
  EXPECT_TRUE(outbox.Add(Message("a", "one")));
  EXPECT_TRUE(outbox.Add(Message("b", "three")));
  const std::vector<PeerMessage> messages = TakeFrame(&outbox);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].raft, "a");
  EXPECT_EQ(TextOf(messages[0].payload), "one");
  EXPECT_EQ(TextOf(messages[1].payload), "three");
  EXPECT_EQ(messages[1].shard, 3);
  EXPECT_EQ(messages[1].from, 1u);
  EXPECT_EQ(messages[1].to, 2u);
  EXPECT_TRUE(TakeFrame(&outbox).empty());
}

TEST(PeerFrames, MessagesWithoutEntriesGoFirst) {
  PeerOutbox outbox;
  outbox.Add(Message("append", "entry"));
  outbox.Add(Message("heartbeat"));
  const std::vector<PeerMessage> messages = TakeFrame(&outbox);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].raft, "heartbeat");
}

TEST(PeerFrames, AFrameHoldsItsBytesOrOneMessage) {
  PeerOutbox outbox;
  const std::string big(2 * rpc::kFrameBytes, 'x');
  const std::string half(rpc::kFrameBytes / 2, 'x');
  outbox.Add(Message("big", big));
  outbox.Add(Message("half", half));
  outbox.Add(Message("half", half));
  EXPECT_EQ(TakeFrame(&outbox).size(), 1u);
  EXPECT_EQ(TakeFrame(&outbox).size(), 1u);
  EXPECT_EQ(TakeFrame(&outbox).size(), 1u);
}

TEST(PeerFrames, AppendsPastTheBoundAreDroppedAndHeartbeatsAreNot) {
  PeerOutbox outbox;
  const std::string part(PeerOutbox::kAppendBytesMax / 2, 'x');
  EXPECT_TRUE(outbox.Add(Message("a", part)));
  EXPECT_FALSE(outbox.Add(Message("b", part)));
  EXPECT_TRUE(outbox.Add(Message("heartbeat")));
  TakeFrame(&outbox);
  TakeFrame(&outbox);
  EXPECT_TRUE(outbox.Add(Message("b", part)));
}

TEST(PeerFrames, WrongFramesAreRefused) {
  cluster::v1::PeerFrame head;
  head.add_messages()->set_payload_bytes(4);
  EXPECT_EQ(CodeOf(head, "four"), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf(head, "4"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(head, "fours"), absl::StatusCode::kInvalidArgument);
  head.mutable_messages(0)->set_payload_bytes(~uint64_t{0});
  EXPECT_EQ(CodeOf(head, "four"), absl::StatusCode::kInvalidArgument);
  head.mutable_messages(0)->set_payload_bytes(0);
  head.mutable_messages(0)->set_shard(65536);
  EXPECT_EQ(CodeOf(head, ""), absl::StatusCode::kInvalidArgument);
  head.mutable_messages(0)->set_shard(0);
  head.mutable_hello();
  EXPECT_EQ(CodeOf(head, ""), absl::StatusCode::kInvalidArgument);
  head.clear_hello();
  for (size_t i = 0; i < kFrameMessagesMax; ++i) head.add_messages();
  EXPECT_EQ(CodeOf(head, ""), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace postfleet::queue::transport
