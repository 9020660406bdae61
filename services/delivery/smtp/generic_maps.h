// smtp_generic_maps and lmtp_generic_maps (generic(5)): addresses that make sense at home only
// become others when mail leaves: the envelope's sender and recipients, and the addresses of the
// message's own header. Logs, notices and ORCPT keep what it was.
//
// Looked for, in this order: user+ext@domain; user@domain; where the domain is ours ($myorigin, one
// of $mydestination, or our address in brackets) user+ext and user; @domain. A result is an
// address, completed like a local one ($myorigin), or @domain, which keeps the user. The extension
// of a form without it is appended to the result where propagate_unmatched_extensions lists
// "generic". Of a result with more addresses the first is taken, with a warning. No recursion.
//
// Errors: Unavailable, where a table cannot be asked, or says what is no address; logged as Postfix
// logs it. Mail must be deferred then, 4.3.0, with kFailureText. Lookups block.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/message/address_rewriting.h"
#include "libs/tables/maps.h"
#include "libs/tables/match_list.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/smtp/contents.h"

namespace postfleet::delivery::smtp {

struct GenericOptions {
  std::string parameter = "smtp_generic_maps";
  std::vector<std::string> tables;  // empty: nothing is replaced
  std::string default_table_type = "hash";
  std::string recipient_delimiter;
  bool propagate_extensions = false;
  std::string mydestination;
  message::AddressRewriting rewriting;  // of results; its origin is ours

  static GenericOptions FromConfig(const config::Config& config, bool lmtp);
};

class GenericMaps {
 public:
  // What Postfix's queue manager says of an agent that ended with a fatal error.
  static constexpr std::string_view kFailureText = "unknown mail transport error";

  // nullptr: no tables. `program` is for the log; `own_addresses`: as they stand in brackets.
  // Errors: what is wrong in the tables' specification.
  static absl::StatusOr<std::unique_ptr<GenericMaps>> Open(
      const GenericOptions& options, std::string program,
      std::vector<std::string> own_addresses = {});

  // An address in internal form, and what it becomes; nullopt: it stays.
  absl::StatusOr<std::optional<std::string>> Map(const std::string& address);

  // The sender; and the recipients, which remember what they were (original_address).
  absl::Status MapEnvelope(mail::v1::Envelope* envelope,
                           std::vector<mail::v1::Recipient>* recipients);

 private:
  // What a table says, and the part of the address that was left out of the key.
  struct Found {
    std::string value;
    std::string extension;
  };

  GenericMaps(GenericOptions options, std::string program, std::vector<std::string> own_addresses,
              tables::Maps maps, tables::MatchList mydestination)
      : options_(std::move(options)),
        program_(std::move(program)),
        own_addresses_(std::move(own_addresses)),
        maps_(std::move(maps)),
        mydestination_(std::move(mydestination)) {}

  absl::StatusOr<std::optional<Found>> Find(const std::string& address);
  absl::StatusOr<bool> IsOurs(std::string_view domain);
  absl::Status Failure(const std::string& address, std::string_view why) const;

  const GenericOptions options_;
  const std::string program_;
  const std::vector<std::string> own_addresses_;
  tables::Maps maps_;
  tables::MatchList mydestination_;
};

// The header's part of it, for Contents. The maps must outlive it.
class GenericHeader : public ContentsEditor {
 public:
  explicit GenericHeader(GenericMaps* maps) : maps_(maps) {}
  void OnField(std::string_view name, std::string* field) override;
  void OnHeaderEnd(std::string*) override {}
  std::string_view failure() const override { return failure_; }

 private:
  GenericMaps* const maps_;
  std::string_view failure_;
};

}  // namespace postfleet::delivery::smtp
