// Little-endian numbers and texts with a length, as protocol.h and action_protocol.h have them.
// Internal to services/delivery/privileged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace postfleet::delivery::privileged {

template <typename Integer>
void Put(Integer value, std::string* out) {
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

inline void PutText(std::string_view text, std::string* out) {
  Put(static_cast<uint32_t>(text.size()), out);
  out->append(text);
}

inline std::string WithPrefix(uint32_t magic, const std::string& body) {
  std::string frame;
  frame.reserve(2 * sizeof(uint32_t) + body.size());
  Put(magic, &frame);
  Put(static_cast<uint32_t>(body.size()), &frame);
  return frame += body;
}

// Takes values from the front; once something was missing, everything is zero and ok() is false.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  template <typename Integer>
  Integer Take() {
    if (bytes_.size() < sizeof(Integer)) return Fail<Integer>();
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(Integer); ++i) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[i])) << (8 * i);
    }
    bytes_.remove_prefix(sizeof(Integer));
    return static_cast<Integer>(value);
  }

  std::string TakeText(size_t bytes_max) {
    const auto length = Take<uint32_t>();
    if (length > bytes_max || length > bytes_.size()) return Fail<std::string>();
    std::string text(bytes_.substr(0, length));
    bytes_.remove_prefix(length);
    return text;
  }

  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && bytes_.empty(); }

 private:
  template <typename Value>
  Value Fail() {
    ok_ = false;
    bytes_ = {};
    return Value();
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace postfleet::delivery::privileged
