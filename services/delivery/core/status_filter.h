// What a delivery's status and text are changed to before they count:
// default_delivery_status_filter of postconf(5) and its kin of each agent (since Postfix 3.0).
//
// The tables are asked for "5.1.1 host mx.example[192.0.2.1] said: ..."; the first answer is taken
// in its place, text included. Delivered stays delivered and undelivered undelivered, but 4.x.x and
// 5.x.x may take each other's place: that defers what would be returned, or the other way round. An
// answer that is none of this is warned of and ignored. So is a table that cannot be asked: what
// happened, happened.
//
// Asked once for each recipient, with what is final. Lookups block.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/tables/maps.h"
#include "proto/postfleet/mail/v1/mail.pb.h"

namespace postfleet::delivery {

struct StatusFilterOptions {
  std::string parameter;  // "smtp_delivery_status_filter", for warnings
  std::string program;
  std::vector<std::string> maps;
  std::string default_table_type = "hash";
};

class StatusFilter {
 public:
  // Errors: what is wrong in the tables' specification.
  static absl::StatusOr<std::unique_ptr<StatusFilter>> Open(const StatusFilterOptions& options);
  // For agents, of which TransportsFrom has opened it before: none, with a warning, if its tables
  // are gone since.
  static std::unique_ptr<StatusFilter> OpenOrWarn(const StatusFilterOptions& options);

  void Apply(mail::v1::Outcome* outcome);

 private:
  StatusFilter(std::string parameter, std::string program, tables::Maps maps)
      : parameter_(std::move(parameter)), program_(std::move(program)), maps_(std::move(maps)) {}

  const std::string parameter_;
  const std::string program_;
  tables::Maps maps_;
};

}  // namespace postfleet::delivery
