#include "commands/postconf_edit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "commands/config_edit.h"
#include "commands/service_entry.h"
#include "commands/service_pattern.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"

namespace postfleet::commands {
namespace {

using What = PostconfRequest::What;
using Edit = PostconfRequest::Edit;

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::UnavailableError(Concat(what, " ", path, ": ", strerrordesc_np(errno)));
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failed("write", path);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : Failed("fsync", path);
}

// All of it or nothing.
absl::Status Replace(const std::string& path, std::string_view text) {
  struct stat old {};
  if (::stat(path.c_str(), &old) != 0) return Failed("stat", path);
  const std::string fresh = Concat(path, ".tmp");
  ::unlink(fresh.c_str());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("open", fresh);
  absl::Status status = WriteAll(fd, text, fresh);
  if (status.ok() && ::geteuid() == 0 && ::fchown(fd, old.st_uid, old.st_gid) != 0) {
    status = Failed("chown", fresh);
  }
  if (status.ok() && ::fchmod(fd, old.st_mode & 07777) != 0) status = Failed("chmod", fresh);
  ::close(fd);
  if (status.ok() && ::rename(fresh.c_str(), path.c_str()) != 0) status = Failed("rename", fresh);
  if (!status.ok()) ::unlink(fresh.c_str());
  return status;
}

struct Assignment {
  std::string name;
  std::string value;
};

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

// "name = value" of kSet, a name alone otherwise.
absl::StatusOr<Assignment> ParseOperand(Edit edit, std::string_view operand) {
  if (operand.find('\n') != operand.npos) {
    return absl::InvalidArgumentError("-e, -X, or -# accepts no multi-line input");
  }
  const size_t equals = operand.find('=');
  if (edit != Edit::kSet) {
    if (equals == operand.npos && !Trimmed(operand).empty()) {
      return Assignment{std::string(Trimmed(operand)), ""};
    }
    return absl::InvalidArgumentError(Concat("-X or -# requires names without value: ", operand));
  }
  const std::string_view name = Trimmed(operand.substr(0, equals));
  if (equals == operand.npos || name.find_first_of(" \t") != name.npos) {
    return absl::InvalidArgumentError(
        Concat("missing '=' after attribute name: \"", operand, "\""));
  }
  if (name.empty()) {
    return absl::InvalidArgumentError(Concat("missing attribute name: \"", operand, "\""));
  }
  return Assignment{std::string(name), std::string(Trimmed(operand.substr(equals + 1)))};
}

ConfigEdit MainCfEdit(Edit edit) {
  return edit == Edit::kSet      ? ConfigEdit::kSet
         : edit == Edit::kRemove ? ConfigEdit::kRemove
                                 : ConfigEdit::kComment;
}

absl::StatusOr<std::string> EditParameters(const PostconfRequest& request, std::string_view file,
                                           const std::string& path, Console& console) {
  std::map<std::string, std::string> values;
  for (const std::string& operand : request.operands) {
    absl::StatusOr<Assignment> assignment = ParseOperand(request.edit, operand);
    if (!assignment.ok()) return assignment.status();
    values[assignment->name] = assignment->value;
  }
  std::vector<std::string> repeated;
  std::string text = EditMainCf(file, MainCfEdit(request.edit), values, &repeated);
  for (const std::string& name : repeated) {
    console.Warn(Concat(path, ": multiple entries for \"", name, "\""));
  }
  return text;
}

struct ServiceEdit {
  ServicePattern pattern;
  std::string value;
  std::string whole;  // of -M: the new entry
  bool done = false;
};

absl::StatusOr<ServiceEdit> ParseServiceEdit(const PostconfRequest& request,
                                             std::string_view operand) {
  absl::StatusOr<Assignment> assignment = ParseOperand(request.edit, operand);
  if (!assignment.ok()) return assignment.status();
  const bool services = request.what == What::kServices;
  ServiceEdit edit{.pattern = ServicePattern::Parse(assignment->name), .value = assignment->value};
  if (services) {
    if (edit.pattern.parts != 2) {
      return absl::InvalidArgumentError("-Me, -MX or -M# requires service_name/type");
    }
    if (request.edit == Edit::kSet) {
      absl::StatusOr<ServiceEntry> entry = ServiceEntry::Parse(edit.value);
      if (!entry.ok()) {
        return absl::InvalidArgumentError(Concat(
            "\"", edit.value,
            "\": bad field count: specify all eight fields of master.cf, the command the last"));
      }
      edit.whole = Concat(entry->ToString(true), "\n");
    }
    return edit;
  }
  if (edit.pattern.parts != 3) {
    return absl::InvalidArgumentError(request.what == What::kFields
                                          ? "-Fe requires service_name/type/field=value"
                                          : "-Pe or -PX requires service_name/type/parameter");
  }
  if (request.what == What::kFields && FieldIndex(edit.pattern.attribute) < 0) {
    return absl::InvalidArgumentError(
        Concat("invalid service attribute name: \"", edit.pattern.attribute, "\""));
  }
  if (request.what == What::kServiceParameters &&
      edit.value.find_first_of(" \t") != std::string::npos) {
    return absl::InvalidArgumentError("-Pe does not accept whitespace in parameter value");
  }
  return edit;
}

// What one -F or -P makes of an entry.
absl::Status Apply(const PostconfRequest& request, const ServiceEdit& edit, ServiceEntry* entry) {
  const std::string& attribute = edit.pattern.attribute;
  if (request.what == What::kServiceParameters) {
    if (request.edit == Edit::kSet) {
      entry->SetParameter(attribute, edit.value);
    } else {
      entry->RemoveParameter(attribute);
    }
    return absl::OkStatus();
  }
  const int field = FieldIndex(attribute);
  if (static_cast<size_t>(field) + 1 == kServiceFields.size()) return entry->SetCommand(edit.value);
  if (edit.value.empty() || edit.value.find_first_of(" \t") != std::string::npos) {
    return absl::InvalidArgumentError(
        Concat(attribute, ": a field of master.cf is one word, not \"", edit.value, "\""));
  }
  entry->fields[static_cast<size_t>(field)] = edit.value;
  return absl::OkStatus();
}

absl::StatusOr<std::string> EditServices(const PostconfRequest& request, std::string_view file) {
  std::vector<ServiceEdit> edits;
  for (const std::string& operand : request.operands) {
    absl::StatusOr<ServiceEdit> edit = ParseServiceEdit(request, operand);
    if (!edit.ok()) return edit.status();
    edits.push_back(*std::move(edit));
  }
  absl::Status failure;
  std::string text = EditEntries(file, [&](std::string_view line) -> EntryChange {
    absl::StatusOr<ServiceEntry> entry = ServiceEntry::Parse(line);
    if (!entry.ok()) return {};
    bool changed = false;
    for (ServiceEdit& edit : edits) {
      if (!edit.pattern.Matches(*entry)) continue;
      edit.done = true;
      if (request.what == What::kServices) {
        if (request.edit == Edit::kSet) return {EntryChange::kReplace, edit.whole};
        return {request.edit == Edit::kRemove ? EntryChange::kRemove : EntryChange::kComment, ""};
      }
      failure.Update(Apply(request, edit, &*entry));
      changed = true;
    }
    if (!changed) return {};
    return {EntryChange::kReplace, Concat(entry->ToString(true), "\n")};
  });
  if (!failure.ok()) return failure;
  for (const ServiceEdit& edit : edits) {
    if (edit.done) continue;
    if (!edit.whole.empty()) {
      text += edit.whole;
    } else if (request.edit == Edit::kSet) {
      return absl::NotFoundError(Concat("no service matches \"", edit.pattern.text, "\""));
    }
  }
  return text;
}

}  // namespace

int EditConfiguration(const PostconfRequest& request, Console& console) {
  if (request.operands.empty()) {
    return console.Fatal(request.edit == Edit::kSet ? "-e requires name=value argument"
                                                    : "missing service argument");
  }
  const bool main_cf = request.what == What::kParameters;
  const std::string path = Concat(request.directory, main_cf ? "/main.cf" : "/master.cf");
  const absl::StatusOr<std::string> file = config::ReadFileText(path);
  if (!file.ok()) return console.Fatal(file.status());
  const absl::StatusOr<std::string> text =
      main_cf ? EditParameters(request, *file, path, console) : EditServices(request, *file);
  if (!text.ok()) return console.Fatal(text.status());
  if (*text == *file) return console.Finish();
  const absl::Status written = Replace(path, *text);
  return written.ok() ? console.Finish() : console.Fatal(written);
}

}  // namespace postfleet::commands
