// texthash:, inline: and static: tables.
#include <unordered_map>
#include <utility>

#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/main_cf.h"
#include "libs/config/values.h"
#include "libs/tables/file_watch.h"
#include "libs/tables/table_types.h"
#include "libs/tables/text_source.h"

namespace postfleet::tables {
namespace {

using Entries = std::unordered_map<std::string, std::string>;

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::optional<std::string> Find(const Entries& entries, std::string_view key) {
  auto found = entries.find(std::string(key));
  if (found == entries.end()) return std::nullopt;
  return found->second;
}

class TextHashTable : public Table {
 public:
  TextHashTable(std::string name, std::string path, const OpenOptions& options)
      : Table(std::move(name), true),
        watch_(std::move(path), options.clock),
        fold_(options.fold_keys) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    if (watch_.NeedsLoad()) Load();
    if (!failure_.ok()) return failure_;
    return Find(entries_, key);
  }

 private:
  void Load() {
    absl::StatusOr<std::string> text = config::ReadFileText(watch_.path());
    watch_.Loaded(text.ok());
    failure_ = text.ok() ? absl::OkStatus() : LookupFailure(name(), Text(text.status()));
    if (!text.ok()) return;
    entries_.clear();
    config::Diagnostics ignored;  // postmap says them
    for (TextEntry& entry : ParseTextSource(*text, name(), fold_, ignored, false)) {
      entries_.emplace(std::move(entry.key), std::move(entry.value));
    }
  }

  FileWatch watch_;
  bool fold_;
  Entries entries_;
  absl::Status failure_;
};

class InlineTable : public Table {
 public:
  InlineTable(std::string name, Entries entries)
      : Table(std::move(name), true), entries_(std::move(entries)) {}
  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    return Find(entries_, key);
  }

 private:
  Entries entries_;
};

class StaticTable : public Table {
 public:
  StaticTable(std::string name, std::string value)
      : Table(std::move(name), false), value_(std::move(value)) {}
  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view) override { return value_; }

 private:
  std::string value_;
};

// inline:{ key=value, { key = text with spaces } }
absl::StatusOr<Entries> ParseInline(const std::string& argument, bool fold) {
  if (!argument.starts_with('{')) {
    return absl::InvalidArgumentError("expected format: inline:{name=value...}");
  }
  absl::StatusOr<std::string> inner = config::StripBraces(argument);
  if (!inner.ok()) return inner.status();
  Entries entries;
  for (const std::string& item : config::SplitList(*inner)) {
    absl::StatusOr<std::string> text = config::StripBraces(item);
    if (!text.ok()) return text.status();
    absl::StatusOr<config::MainCfEntry> entry = config::ParseAssignment(*text);
    if (!entry.ok()) return entry.status();
    if (fold) {
      for (char& c : entry->name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    entries[entry->name] = entry->value;
  }
  if (entries.empty()) return absl::InvalidArgumentError("empty table");
  return entries;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeTextHashTable(std::string name, std::string argument,
                                                         const OpenOptions& options) {
  return std::make_unique<TextHashTable>(std::move(name), std::move(argument), options);
}

absl::StatusOr<std::unique_ptr<Table>> MakeInlineTable(std::string name, std::string argument,
                                                       const OpenOptions& options) {
  absl::StatusOr<Entries> entries = ParseInline(argument, options.fold_keys);
  if (!entries.ok()) {
    return absl::InvalidArgumentError(Concat(name, ": ", Text(entries.status())));
  }
  return std::make_unique<InlineTable>(std::move(name), *std::move(entries));
}

absl::StatusOr<std::unique_ptr<Table>> MakeStaticTable(std::string name, std::string argument,
                                                       const OpenOptions&) {
  absl::StatusOr<std::string> value = config::StripBraces(argument);
  if (!value.ok()) return absl::InvalidArgumentError(Concat(name, ": ", Text(value.status())));
  return std::make_unique<StaticTable>(std::move(name), *std::move(value));
}

}  // namespace postfleet::tables
