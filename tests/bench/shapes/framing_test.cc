#include "tests/bench/shapes/framing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postfleet::bench {
namespace {

shapes::Head SomeHead(size_t payload_bytes) {
  shapes::Head head;
  head.set_sequence(300);
  head.set_queue_id("4cXq0B1zvQz3kTd");
  head.add_recipients("recipient@destination.example");
  head.set_payload_bytes(payload_bytes);
  return head;
}

std::string Flatten(const std::vector<grpc::Slice>& slices) {
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

std::string BatchBytes() {
  std::vector<grpc::Slice> slices;
  for (const std::string& body :
       {std::string("first body"), std::string(), std::string(300, 'x')}) {
    AppendBatchItem(SomeHead(body.size()), OwningSlice(body), &slices);
  }
  return Flatten(slices);
}

bool Read(const std::vector<std::string>& pieces, std::vector<ReceivedItem>* items) {
  std::vector<grpc::Slice> slices(pieces.begin(), pieces.end());
  return ReadBatch(grpc::ByteBuffer(slices.data(), slices.size()), items);
}

TEST(Framing, TheBytesAreAValidProtobufBatch) {
  shapes::Batch batch;
  ASSERT_TRUE(batch.ParseFromString(BatchBytes()));
  ASSERT_EQ(batch.items_size(), 3);
  EXPECT_EQ(batch.items(0).payload(), "first body");
  EXPECT_EQ(batch.items(1).payload(), "");
  EXPECT_EQ(batch.items(2).payload(), std::string(300, 'x'));
  EXPECT_EQ(batch.items(2).sequence(), 300u);
  EXPECT_EQ(batch.items(2).recipients(0), "recipient@destination.example");
}

TEST(Framing, ASliceBorderMayFallAnywhere) {
  const std::string bytes = BatchBytes();
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    std::vector<ReceivedItem> items;
    ASSERT_TRUE(Read({bytes.substr(0, cut), "", bytes.substr(cut)}, &items)) << cut;
    ASSERT_EQ(items.size(), 3u) << cut;
    EXPECT_EQ(Flatten(items[0].payload), "first body") << cut;
    EXPECT_EQ(Flatten(items[2].payload), std::string(300, 'x')) << cut;
    EXPECT_EQ(items[2].head.SerializeAsString(), SomeHead(300).SerializeAsString()) << cut;
  }
}

TEST(Framing, OneByteSlicesAreRead) {
  std::vector<std::string> pieces;
  for (char byte : BatchBytes()) pieces.emplace_back(1, byte);
  std::vector<ReceivedItem> items;
  ASSERT_TRUE(Read(pieces, &items));
  EXPECT_EQ(Flatten(items[0].payload), "first body");
}

TEST(Framing, ATruncatedBatchIsRefused) {
  const std::string bytes = BatchBytes();
  std::vector<size_t> whole_items_end = {0};
  for (int count = 1; count <= 3; ++count) {
    shapes::Batch batch;
    ASSERT_TRUE(batch.ParseFromString(bytes));
    while (batch.items_size() > count) batch.mutable_items()->RemoveLast();
    // An empty payload field is written by us, left out by protobuf.
    whole_items_end.push_back(batch.ByteSizeLong() + (count > 1 ? 2 : 0));
  }
  for (size_t end = 0; end < bytes.size(); ++end) {
    const bool whole =
        end == whole_items_end[0] || end == whole_items_end[1] || end == whole_items_end[2];
    std::vector<ReceivedItem> items;
    EXPECT_EQ(Read({bytes.substr(0, end)}, &items), whole) << end;
  }
}

TEST(Framing, BytesBehindThePayloadAreRefused) {
  std::vector<grpc::Slice> slices;
  AppendItem(SomeHead(4), OwningSlice("body"), &slices);
  slices.emplace_back(std::string("\x08\x01"));
  SliceReader reader(slices);
  ReceivedItem item;
  EXPECT_FALSE(ReadItem(&reader, reader.remaining(), &item));
}

TEST(Framing, AHugeLengthIsRefused) {
  std::vector<ReceivedItem> items;
  EXPECT_FALSE(Read({"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, &items));
  // A payload length that wraps around when the position is added to it.
  EXPECT_FALSE(Read({"\x0a\x0b\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, &items));
}

TEST(Framing, ThePayloadIsNotCopied) {
  const std::string body(100000, 'x');
  grpc::Slice payload = OwningSlice(body);
  const uint8_t* at = payload.begin();
  std::vector<grpc::Slice> slices;
  AppendBatchItem(SomeHead(body.size()), std::move(payload), &slices);
  std::vector<ReceivedItem> items;
  ASSERT_TRUE(ReadBatch(grpc::ByteBuffer(slices.data(), slices.size()), &items));
  ASSERT_EQ(items[0].payload.size(), 1u);
  EXPECT_EQ(items[0].payload[0].begin(), at);
}

}  // namespace
}  // namespace postfleet::bench
