// A file of maildrop (libs/maildrop) as postcat(1) shows it: a line for each record, those of long
// lines joined.
//
// Errors of ShowMaildropFile: NotFound (it cannot be opened), InvalidArgument (it is no such file),
// DataLoss (it breaks off; what there was has been written). Memory: one record.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/maildrop/submission.h"

namespace postfleet::commands {

struct MaildropTextOptions {
  bool envelope = true;
  bool header = true;
  bool body = true;
  absl::TimeZone zone;
};

// The text of one file, called `name` there, from its bytes in any pieces.
class MaildropText {
 public:
  MaildropText(const MaildropTextOptions& options, std::string name)
      : options_(options), name_(std::move(name)) {}

  absl::Status Take(std::string_view bytes, std::string* text);
  absl::Status Finish() const;

 private:
  void AddRecord(char type, std::string_view data, std::string* text);
  void AddMark(std::string_view words, std::string* text) const;
  void AddContents(std::string_view data, bool ends, std::string* text);

  const MaildropTextOptions options_;
  const std::string name_;
  maildrop::RecordReader reader_;
  maildrop::RecordOrder order_;
  bool began_ = false;
  bool in_body_ = false;
  bool at_line_start_ = true;
  bool first_line_ = true;
};

absl::Status ShowMaildropFile(const std::string& path, const std::string& name,
                              const MaildropTextOptions& options,
                              const std::function<bool(std::string_view)>& write);

}  // namespace postfleet::commands
