// How a frame type carries items and acknowledgements: protobuf objects, or
// byte buffers made of slices. Both hold the same bytes on the wire.
#ifndef TESTS_BENCH_SHAPES_RPC_CODEC_H_
#define TESTS_BENCH_SHAPES_RPC_CODEC_H_

#include <grpcpp/support/byte_buffer.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/bench/shapes/framing.h"
#include "tests/bench/shapes/measure.h"
#include "tests/bench/shapes/shapes.grpc.pb.h"

namespace postfleet::bench {

struct Submission {
  uint64_t sequence;
  std::string body;
};

template <class Message>
void FillHead(uint64_t sequence, size_t payload_bytes, Message* head) {
  head->set_sequence(sequence);
  head->set_queue_id("4cXq0B1zvQz3kTd");
  head->set_sender("sender@origin.example");
  head->add_recipients("recipient@destination.example");
  head->set_payload_bytes(payload_bytes);
}

struct ProtobufCodec {
  using ItemFrame = shapes::Item;
  using BatchFrame = shapes::Batch;
  using AckFrame = shapes::Acks;

  static void FillItem(Submission item, shapes::Item* frame) {
    FillHead(item.sequence, item.body.size(), frame);
    frame->set_payload(std::move(item.body));
  }
  static void FillBatch(std::vector<Submission> items, shapes::Batch* frame) {
    frame->Clear();
    for (Submission& item : items) FillItem(std::move(item), frame->add_items());
  }
  static uint64_t ReadItem(const shapes::Item& item) {
    BENCH_CHECK(item.payload().size() == item.payload_bytes());
    return item.sequence();
  }
  static void ReadBatch(const shapes::Batch& frame, std::vector<uint64_t>* sequences) {
    for (const auto& item : frame.items()) sequences->push_back(ReadItem(item));
  }
  static void FillAcks(const std::vector<uint64_t>& sequences, shapes::Acks* frame) {
    frame->mutable_sequences()->Assign(sequences.begin(), sequences.end());
  }
  static void ReadAcks(const shapes::Acks& frame, std::vector<uint64_t>* sequences) {
    sequences->assign(frame.sequences().begin(), frame.sequences().end());
  }
};

struct SliceCodec {
  using ItemFrame = grpc::ByteBuffer;
  using BatchFrame = grpc::ByteBuffer;
  using AckFrame = grpc::ByteBuffer;

  static void FillItem(Submission item, grpc::ByteBuffer* frame) {
    std::vector<grpc::Slice> slices;
    shapes::Head head;
    FillHead(item.sequence, item.body.size(), &head);
    AppendItem(head, OwningSlice(std::move(item.body)), &slices);
    grpc::ByteBuffer(slices.data(), slices.size()).Swap(frame);
  }
  static void FillBatch(std::vector<Submission> items, grpc::ByteBuffer* frame) {
    std::vector<grpc::Slice> slices;
    slices.reserve(2 * items.size());
    shapes::Head head;
    for (Submission& item : items) {
      head.Clear();
      FillHead(item.sequence, item.body.size(), &head);
      AppendBatchItem(head, OwningSlice(std::move(item.body)), &slices);
    }
    grpc::ByteBuffer(slices.data(), slices.size()).Swap(frame);
  }
  static uint64_t CheckItem(const ReceivedItem& item) {
    size_t bytes = 0;
    for (const grpc::Slice& slice : item.payload) bytes += slice.size();
    BENCH_CHECK(bytes == item.head.payload_bytes());
    return item.head.sequence();
  }
  static uint64_t ReadItem(const grpc::ByteBuffer& frame) {
    std::vector<grpc::Slice> slices;
    BENCH_CHECK(frame.Dump(&slices).ok());
    SliceReader reader(slices);
    ReceivedItem item;
    BENCH_CHECK(bench::ReadItem(&reader, reader.remaining(), &item));
    return CheckItem(item);
  }
  static void ReadBatch(const grpc::ByteBuffer& frame, std::vector<uint64_t>* sequences) {
    std::vector<ReceivedItem> items;
    BENCH_CHECK(bench::ReadBatch(frame, &items));
    for (const auto& item : items) sequences->push_back(CheckItem(item));
  }
  static void FillAcks(const std::vector<uint64_t>& sequences, grpc::ByteBuffer* frame) {
    shapes::Acks acks;
    ProtobufCodec::FillAcks(sequences, &acks);
    bool own;
    frame->Clear();  // Serialize aborts on a buffer that is in use.
    BENCH_CHECK(grpc::SerializationTraits<shapes::Acks>::Serialize(acks, frame, &own).ok());
  }
  static void ReadAcks(const grpc::ByteBuffer& frame, std::vector<uint64_t>* sequences) {
    grpc::ByteBuffer bytes(frame);
    shapes::Acks acks;
    BENCH_CHECK(grpc::SerializationTraits<shapes::Acks>::Deserialize(&bytes, &acks).ok());
    ProtobufCodec::ReadAcks(acks, sequences);
  }
};

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_RPC_CODEC_H_
