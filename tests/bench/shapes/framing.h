// Encodes and reads an Item without copying its payload.
//
// Writing: head fields as protobuf, the tag and length of field 15, then the
// payload as a reference-counted slice. The bytes are a valid Item (or a valid
// Batch of them). Reading: scans the top-level fields up to field 15, parses
// what stands before it as a Head, and takes the payload as sub-slices.
//
// Field 15 must be last: bytes behind it inside an Item are refused.
#ifndef TESTS_BENCH_SHAPES_FRAMING_H_
#define TESTS_BENCH_SHAPES_FRAMING_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <string>
#include <vector>

#include "tests/bench/shapes/shapes.pb.h"

namespace postfleet::bench {

// Gives the bytes to the slice: no copy; freed when the last reference dies.
grpc::Slice OwningSlice(std::string bytes);

// An Item inside a Batch (tag 1 and its length before it).
void AppendBatchItem(const shapes::Head& head, grpc::Slice payload,
                     std::vector<grpc::Slice>* slices);
// An Item alone, as a unary request.
void AppendItem(const shapes::Head& head, grpc::Slice payload, std::vector<grpc::Slice>* slices);

struct ReceivedItem {
  shapes::Head head;
  std::vector<grpc::Slice> payload;
};

// A position in a chain of slices.
class SliceReader {
 public:
  explicit SliceReader(const std::vector<grpc::Slice>& slices);

  size_t position() const { return position_; }
  size_t remaining() const { return size_ - position_; }
  bool ReadVarint(uint64_t* value);
  bool Skip(size_t bytes);
  // A view of the next bytes; copied to `scratch` only across a slice border.
  bool ReadContiguous(size_t bytes, std::string* scratch, const char** data);
  bool ReadSlices(size_t bytes, std::vector<grpc::Slice>* out);

 private:
  const std::vector<grpc::Slice>& slices_;
  size_t index_ = 0;
  size_t offset_ = 0;
  size_t position_ = 0;
  size_t size_ = 0;
};

// False when the bytes are not an Item of `bytes` length.
bool ReadItem(SliceReader* reader, size_t bytes, ReceivedItem* item);
bool ReadBatch(const grpc::ByteBuffer& buffer, std::vector<ReceivedItem>* items);

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_FRAMING_H_
