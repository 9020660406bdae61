// One mail transaction: from MAIL to the message's final reply.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/message/cleanup.h"
#include "libs/smtp/command.h"
#include "libs/smtp/data_reader.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

struct AcceptedRecipient {
  std::string address;  // completed by lookup
  std::string given;    // as in RCPT, without quotes and routes
  uint32_t dsn_notify = 0;
  std::string dsn_orcpt;
};

// DATA or BDAT, and what follows.
struct Content {
  Content(smtp::BareNewline mode, smtp::DataReader::Framing how, size_t line_bytes_max,
          message::CleanupOptions options, std::string received)
      : framing(how),
        reader(mode, how, line_bytes_max),
        cleanup(std::move(options), std::move(received)) {}

  const smtp::DataReader::Framing framing;
  smtp::DataReader reader;
  message::Cleanup cleanup;
  std::string chunk;
  uint32_t chunks_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t lines_sent = 0;
  uint64_t bytes_read = 0;  // off the wire, for the line about a lost connection
  bool hops_noted = false;
  bool message_id_logged = false;
  // Whatever else comes is read and thrown away; the reply is decided.
  bool discarding = false;
};

struct Session::Transaction {
  mail::Address sender;
  std::string sender_text;
  std::string completed_sender;  // what the envelope gets; "": the null path
  // Client in local_header_rewrite_clients.
  bool local_headers = false;
  smtp::Body body = smtp::Body::kUnspecified;
  uint64_t size_hint = 0;
  bool smtputf8 = false;
  mail::v1::Envelope::Return dsn_return = mail::v1::Envelope::RETURN_UNSPECIFIED;
  std::string dsn_envid;
  std::string verp;  // delimiters; empty: no XVERP

  std::string queue_id;  // taken at the first accepted recipient
  std::vector<AcceptedRecipient> recipients;
  size_t recipient_bytes = 0;  // what they hold, more or less
  int overshoot = 0;

  std::unique_ptr<Content> content;
  uint64_t wire_bytes = 0;  // of a whole content, each line with CRLF
  int unacknowledged_chunks = 0;
  // The first bad answer to a chunk.
  queue::v1::EnqueueResult::Code failure = queue::v1::EnqueueResult::COMMITTED;
};

}  // namespace postfleet::ingress
