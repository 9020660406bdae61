#include "services/delivery/smtp/generic_maps.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "libs/message/known_fields.h"

namespace postfleet::delivery::smtp {
namespace {

using Value = absl::StatusOr<std::optional<std::string>>;

bool Decided(const Value& value) { return !value.ok() || value->has_value(); }

// "user+ext@domain" and "+ext" -> "user@domain".
std::string Without(const std::string& address, std::string_view extension) {
  const size_t at = std::min(address.rfind('@'), address.size());
  return address.substr(0, at - extension.size()) + address.substr(at);
}

std::string With(std::string address, std::string_view extension) {
  address.insert(std::min(address.rfind('@'), address.size()), extension);
  return address;
}

}  // namespace

GenericOptions GenericOptions::FromConfig(const config::Config& config, bool lmtp) {
  GenericOptions options;
  options.parameter = lmtp ? "lmtp_generic_maps" : "smtp_generic_maps";
  options.tables = config.GetList(options.parameter);
  options.default_table_type = config.GetString("default_database_type");
  options.recipient_delimiter = config.GetString("recipient_delimiter");
  for (const std::string& item : config.GetList("propagate_unmatched_extensions")) {
    if (mail::LowerCasedAscii(item) == "generic") options.propagate_extensions = true;
  }
  options.mydestination = config.GetString("mydestination");
  options.rewriting = {.origin = config.GetString("myorigin"),
                       .domain = config.GetString("mydomain"),
                       .append_at_origin = config.GetBool("append_at_myorigin"),
                       .append_dot_domain = config.GetBool("append_dot_mydomain"),
                       .swap_bangpath = config.GetBool("swap_bangpath"),
                       .percent_hack = config.GetBool("allow_percent_hack")};
  return options;
}

absl::StatusOr<std::unique_ptr<GenericMaps>> GenericMaps::Open(
    const GenericOptions& options, std::string program, std::vector<std::string> own_addresses) {
  if (options.tables.empty()) return nullptr;
  const tables::OpenOptions open = {.default_type = options.default_table_type};
  absl::StatusOr<tables::Maps> maps = tables::Maps::Open(options.tables, open);
  if (!maps.ok()) return maps.status();
  absl::StatusOr<tables::MatchList> mydestination =
      tables::MatchList::Open("mydestination", options.mydestination, {.tables = open});
  if (!mydestination.ok()) return mydestination.status();
  return std::unique_ptr<GenericMaps>(new GenericMaps(options, std::move(program),
                                                      std::move(own_addresses), *std::move(maps),
                                                      *std::move(mydestination)));
}

absl::Status GenericMaps::Failure(const std::string& address, std::string_view why) const {
  maillog::Warning(program_, why);
  maillog::Warning(program_, options_.parameter, " map lookup problem for ", address);
  return absl::UnavailableError(absl::string_view(kFailureText.data(), kFailureText.size()));
}

absl::StatusOr<bool> GenericMaps::IsOurs(std::string_view domain) {
  if (mail::LowerCasedAscii(domain) == mail::LowerCasedAscii(options_.rewriting.origin)) {
    return true;
  }
  if (domain.starts_with('[') && domain.ends_with(']')) {
    std::string address = mail::LowerCasedAscii(domain.substr(1, domain.size() - 2));
    if (address.starts_with("ipv6:")) address.erase(0, 5);
    return std::find(own_addresses_.begin(), own_addresses_.end(), address) != own_addresses_.end();
  }
  return mydestination_.Matches(domain);
}

absl::StatusOr<std::optional<GenericMaps::Found>> GenericMaps::Find(const std::string& address) {
  const size_t at = address.rfind('@');
  const std::string_view user = std::string_view(address).substr(0, at);
  const std::optional<std::string_view> plain =
      tables::WithoutExtension(user, options_.recipient_delimiter);
  const std::string extension(plain ? user.substr(plain->size()) : std::string_view());

  Value value = maps_.Lookup(address);
  bool left_out = false;
  if (!Decided(value) && plain) {
    value = maps_.LookupPartial(Without(address, extension));
    left_out = true;
  }
  if (!Decided(value) && at != std::string::npos) {
    const absl::StatusOr<bool> ours = IsOurs(std::string_view(address).substr(at + 1));
    if (!ours.ok()) return ours.status();
    left_out = false;
    if (*ours) value = maps_.LookupPartial(user);
    if (!Decided(value) && *ours && plain) {
      value = maps_.LookupPartial(*plain);
      left_out = true;
    }
    if (!Decided(value)) {
      value = maps_.LookupPartial(std::string_view(address).substr(at));
      left_out = false;
    }
  }
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::nullopt;
  return Found{.value = **std::move(value), .extension = left_out ? extension : ""};
}

absl::StatusOr<std::optional<std::string>> GenericMaps::Map(const std::string& address) {
  const absl::StatusOr<std::optional<Found>> found = Find(address);
  if (!found.ok()) return Failure(address, std::string(found.status().message()));
  if (!found->has_value()) return std::nullopt;
  std::string value = (*found)->value;
  const std::string& extension = (*found)->extension;
  if (value.starts_with('@')) {
    const std::string user = Without(address, extension);
    value = mail::QuoteLocalPart(std::string_view(user).substr(0, user.rfind('@'))) + value;
  }
  const std::vector<std::string> results = message::ReadAddressList(options_.rewriting, value);
  if (results.empty() || results[0].empty()) {
    return Failure(address, Concat(options_.parameter, " has no address for ", address));
  }
  if (results.size() > 1) {
    maillog::Warning(program_, "multi-valued ", options_.parameter, " result for ", address);
  }
  return options_.propagate_extensions ? With(results[0], extension) : results[0];
}

absl::Status GenericMaps::MapEnvelope(mail::v1::Envelope* envelope,
                                      std::vector<mail::v1::Recipient>* recipients) {
  if (!envelope->sender().empty()) {
    const auto sender = Map(envelope->sender());
    if (!sender.ok()) return sender.status();
    if (sender->has_value()) envelope->set_sender(**sender);
  }
  for (mail::v1::Recipient& recipient : *recipients) {
    const auto address = Map(recipient.address());
    if (!address.ok()) return address.status();
    if (!address->has_value()) continue;
    if (recipient.original_address().empty()) recipient.set_original_address(recipient.address());
    recipient.set_address(**address);
  }
  return absl::OkStatus();
}

void GenericHeader::OnField(std::string_view name, std::string* field) {
  const message::KnownField* known = message::FindKnownField(name);
  if (known == nullptr || !known->has_addresses) return;
  message::MapAddressField(
      [this](const std::string& address) -> std::optional<std::string> {
        if (!failure_.empty()) return std::nullopt;
        auto mapped = maps_->Map(address);
        if (mapped.ok()) return *std::move(mapped);
        failure_ = GenericMaps::kFailureText;
        return std::nullopt;
      },
      field);
}

}  // namespace postfleet::delivery::smtp
