#include "libs/rpc/payload.h"

#include <gtest/gtest.h>

#include <random>

#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::rpc {
namespace {

using queue::v1::EnqueueRequest;

EnqueueRequest TwoSubmissions() {
  EnqueueRequest request;
  request.add_submissions()->set_queue_id("4jXVqC48Jhz1cXNP");
  request.mutable_submissions(0)->set_payload_bytes(300);
  request.add_submissions()->set_payload_bytes(5);
  return request;
}

std::string Join(const Payload& payload) {
  std::string text;
  for (const grpc::Slice& slice : payload) text += AsView(slice);
  return text;
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  Payload slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  return Join(slices);
}

grpc::ByteBuffer Cut(const std::string& bytes, std::mt19937* random) {
  Payload slices;
  for (size_t at = 0; at < bytes.size();) {
    const size_t part = std::min<size_t>(bytes.size() - at, 1 + (*random)() % 60);
    slices.emplace_back(bytes.substr(at, part));
    at += part;
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

TEST(Frame, IsPlainProtobuf) {
  const std::string body(300, 'x');
  EnqueueRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(
      Bytes(EncodeFrame(TwoSubmissions(), {OwningSlice(body), OwningSlice("hello")}))));
  EXPECT_EQ(parsed.payload(), body + "hello");
  EXPECT_EQ(parsed.submissions(0).queue_id(), "4jXVqC48Jhz1cXNP");
}

TEST(Frame, PayloadIsNotCopied) {
  std::string body(300, 'x');
  const char* where = body.data();
  const grpc::ByteBuffer frame = EncodeFrame(TwoSubmissions(), {OwningSlice(std::move(body))});
  EnqueueRequest head;
  Payload payload;
  ASSERT_TRUE(DecodeFrame(frame, &head, &payload));
  ASSERT_EQ(payload.size(), 1u);
  EXPECT_EQ(reinterpret_cast<const char*>(payload[0].begin()), where);
}

TEST(Frame, WithoutPayloadHasNone) {
  EnqueueRequest head;
  Payload payload = {OwningSlice("stale")};
  ASSERT_TRUE(DecodeFrame(EncodeFrame(TwoSubmissions(), {}), &head, &payload));
  EXPECT_TRUE(payload.empty());
  EXPECT_EQ(head.submissions_size(), 2);
}

TEST(Frame, EmptyFrameIsAnEmptyMessage) {
  EnqueueRequest head = TwoSubmissions();
  Payload payload;
  ASSERT_TRUE(DecodeFrame(EncodeFrame(EnqueueRequest(), {}), &head, &payload));
  EXPECT_EQ(head.submissions_size(), 0);
}

TEST(Frame, ReadsTheSameOverAnySliceBorders) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::string bytes =
      Bytes(EncodeFrame(TwoSubmissions(), {OwningSlice(std::string(300, 'x') + "hello")}));
  for (int round = 0; round < 200; ++round) {
    EnqueueRequest head;
    Payload payload;
    ASSERT_TRUE(DecodeFrame(Cut(bytes, &random), &head, &payload));
    EXPECT_EQ(head.submissions_size(), 2);
    PayloadReader reader(payload);
    Payload first, second;
    ASSERT_TRUE(reader.Take(300, &first));
    ASSERT_TRUE(reader.Take(5, &second));
    EXPECT_EQ(Join(first), std::string(300, 'x'));
    EXPECT_EQ(Join(second), "hello");
    EXPECT_FALSE(reader.Take(1, &first));
  }
}

TEST(Frame, CutShortIsRefusedOrAShorterHead) {
  const std::string bytes = Bytes(EncodeFrame(TwoSubmissions(), {OwningSlice("hello, world")}));
  for (size_t size = bytes.size() - 12; size < bytes.size(); ++size) {
    EnqueueRequest head;
    Payload payload;
    const grpc::Slice slice(bytes.substr(0, size));
    EXPECT_FALSE(DecodeFrame(grpc::ByteBuffer(&slice, 1), &head, &payload)) << size;
  }
}

TEST(Frame, BytesBehindThePayloadAreRefused) {
  const grpc::Slice slice(Bytes(EncodeFrame(TwoSubmissions(), {OwningSlice("hello")})) +
                          "\x08\x01");
  EnqueueRequest head;
  Payload payload;
  EXPECT_FALSE(DecodeFrame(grpc::ByteBuffer(&slice, 1), &head, &payload));
}

TEST(Frame, RandomBytesNeverCrash) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? 0x7A : random());
    EnqueueRequest head;
    Payload payload;
    DecodeFrame(Cut(bytes, &random), &head, &payload);
  }
}

}  // namespace
}  // namespace postfleet::rpc
