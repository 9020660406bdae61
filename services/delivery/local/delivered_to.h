// The Delivered-To fields in front of a message: where it has been (local(8), MAIL FORWARDING); and
// by what id logs know it.
//
// Read from the start of the contents up to the first line that is no header, at most
// kHeaderBytesMax: what comes later cannot be seen. Names of fields in any case.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace postfleet::delivery {

class DeliveredTo {
 public:
  static constexpr size_t kHeaderBytesMax = 1 << 20;
  static constexpr size_t kLineBytesMax = 8192;  // of which no address is longer

  // The next piece of the contents. True: the header's end, nothing more is needed.
  bool Take(std::string_view piece);
  // The contents ended.
  void End();
  // In lower case.
  const std::set<std::string>& addresses() const { return addresses_; }
  // The first Message-Id, "<x@y>", for logs; empty: there was none.
  const std::string& message_id() const { return message_id_; }

 private:
  // False: it is no header line.
  bool TakeLine(std::string_view line);

  std::string line_;
  size_t bytes_ = 0;
  bool ended_ = false;
  bool has_lines_ = false;
  bool in_message_id_ = false;  // its value may be on the next line
  std::string message_id_;
  std::set<std::string> addresses_;
};

}  // namespace postfleet::delivery
