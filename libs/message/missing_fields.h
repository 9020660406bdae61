// The fields that cleanup adds at the end of a header that lacks them, for mail of local origin: in
// this order, as Resent- fields if the header has any of those, Message-Id, Date, From; then
// undisclosed_recipients_header if nothing names a recipient. (RFC 5322, 3.6, asks for Date and
// From; RFC 6409, 8, lets a submission server add them.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/message/received.h"

namespace postfleet::message {

// Views into what outlives the message's cleanup.
struct MissingFields {
  std::string_view queue_id;
  std::string_view myhostname;
  std::string_view sender;                  // completed, internal form; "": the null path
  std::string_view full_name = {};          // of the sender, for From; "": none
  bool full_name_as_comment = false;        // header_from_format = obsolete: "addr (name)"
  std::string_view undisclosed_recipients;  // a whole field without LF; "": none
  MailTime time;
};

// `seen`: a set of SeenField. Appends whole fields with their LF. `*message_id` gets the value of
// the (Resent-)Message-Id that was added, or stays.
void AppendMissingFields(const MissingFields& fields, uint8_t seen, std::string* out,
                         std::string* message_id);

}  // namespace postfleet::message
