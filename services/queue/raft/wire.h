// What crosses between C++ and Go in one buffer: little-endian words of 64 bits; bytes are preceded
// by their number and padded to a word. core/wire.go reads and writes the same.
//
// Both sides are ours, in one process: a buffer that is cut short is a broken invariant, and
// aborts.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::queue::raft {

static_assert(std::endian::native == std::endian::little);

class WordWriter {
 public:
  void Word(uint64_t word) { buffer_.append(reinterpret_cast<const char*>(&word), sizeof word); }

  template <typename... Numbers>
  void Words(Numbers... numbers) {
    (Word(static_cast<uint64_t>(numbers)), ...);
  }

  // A number of whole words that both sides know: no count.
  void Raw(const void* bytes, size_t size) {
    buffer_.append(static_cast<const char*>(bytes), size);
  }

  void Bytes(std::string_view bytes) {
    Word(bytes.size());
    buffer_.append(bytes);
    buffer_.resize((buffer_.size() + 7) & ~size_t{7});
  }

  void Ids(const std::vector<uint64_t>& ids) {
    Word(ids.size());
    for (const uint64_t id : ids) Word(id);
  }

  std::string& buffer() { return buffer_; }

 private:
  std::string buffer_;
};

// Bytes that it gives lie in the buffer that it reads.
class WordReader {
 public:
  explicit WordReader(std::string_view buffer) : rest_(buffer) {}

  uint64_t Word() {
    uint64_t word;
    std::memcpy(&word, Raw(sizeof word).data(), sizeof word);
    return word;
  }

  std::string_view Raw(size_t size) {
    if (rest_.size() < size) std::abort();
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  std::string_view Bytes() {
    const uint64_t size = Word();
    return Raw((size + 7) & ~uint64_t{7}).substr(0, size);
  }

  std::vector<uint64_t> Ids() {
    std::vector<uint64_t> ids(Word());
    for (uint64_t& id : ids) id = Word();
    return ids;
  }

 private:
  std::string_view rest_;
};

}  // namespace postfleet::queue::raft
