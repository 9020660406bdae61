#include "commands/shape_report.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "commands/queue_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr size_t kDomainColumnsMin = 18;
constexpr size_t kCountColumnsMin = 3;
constexpr int64_t kMinuteMs = 60'000;

struct Row {
  std::string domain;
  // The sum in front, then one for each bucket.
  std::vector<uint64_t> counts;
  uint64_t subdomains = 0;
};

std::vector<int64_t> LimitsMinutes(const ShapeOptions& options) {
  std::vector<int64_t> limits;
  int64_t limit = options.tick_minutes;
  for (int bucket = 1; bucket < options.buckets; ++bucket) {
    limits.push_back(limit);
    limit += options.linear ? options.tick_minutes : limit;
  }
  return limits;
}

Row MakeRow(const v1::ShapeRow& shape, std::string domain, const ShapeOptions& options) {
  Row row = {std::move(domain), {0}};
  for (int i = 0; i < options.buckets; ++i) {
    row.counts.push_back(i < shape.counts_size() ? shape.counts(i) : 0);
    row.counts[0] += row.counts.back();
  }
  return row;
}

// ".example.com" of "a.example.com" and of ".a.example.com"; "" when that would be a top level
// domain.
std::string_view ParentOf(std::string_view domain) {
  const size_t dot = domain.find('.', 1);
  if (dot == domain.npos || domain.find('.', dot + 1) == domain.npos) return {};
  return domain.substr(dot);
}

std::vector<Row> ParentRows(const std::vector<Row>& domains) {
  std::map<std::string, Row, std::less<>> parents;
  for (const Row& row : domains) {
    bool is_new = true;
    for (std::string_view parent = ParentOf(row.domain); !parent.empty();
         parent = ParentOf(parent)) {
      Row& sum = parents[std::string(parent)];
      if (is_new) ++sum.subdomains;
      is_new = sum.counts.empty();
      sum.domain = parent;
      sum.counts.resize(row.counts.size());
      for (size_t i = 0; i < row.counts.size(); ++i) sum.counts[i] += row.counts[i];
    }
  }
  std::vector<Row> rows;
  for (auto& [name, row] : parents) rows.push_back(std::move(row));
  return rows;
}

std::vector<Row> SortedRows(const v1::ShapeResponse& response, const ShapeOptions& options) {
  std::vector<Row> rows;
  for (const v1::ShapeRow& domain : response.domains()) {
    rows.push_back(MakeRow(domain, Showable(domain.domain()), options));
  }
  if (options.parents) {
    for (Row& parent : ParentRows(rows)) {
      if (parent.subdomains >= options.subdomains_min) rows.push_back(std::move(parent));
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Row& one, const Row& other) {
    if (one.counts[0] != other.counts[0]) return one.counts[0] > other.counts[0];
    if (one.domain.size() != other.domain.size()) return one.domain.size() < other.domain.size();
    return one.domain < other.domain;
  });
  return rows;
}

void AppendRight(std::string* line, std::string_view text, size_t columns) {
  if (text.size() < columns) line->append(columns - text.size(), ' ');
  line->append(text);
}

std::string ShortDomain(const std::string& domain, size_t columns) {
  if (domain.size() <= columns) return domain;
  const std::string_view mark = domain.starts_with('.') ? ".+" : "+";
  return Concat(mark, std::string_view(domain).substr(domain.size() - columns + mark.size()));
}

}  // namespace

std::vector<int64_t> ShapeAgesMs(const ShapeOptions& options) {
  std::vector<int64_t> ages = LimitsMinutes(options);
  for (int64_t& age : ages) age *= kMinuteMs;
  return ages;
}

std::string FormatShape(const v1::ShapeResponse& response, const ShapeOptions& options) {
  const Row total = MakeRow(response.total(), "TOTAL", options);
  std::vector<std::string> heads = {"T"};
  for (const int64_t limit : LimitsMinutes(options)) heads.push_back(Concat(limit));
  heads.push_back(Concat(options.buckets > 1 ? heads.back() : "0", "+"));

  std::vector<size_t> columns;
  size_t counts_width = 0;
  for (size_t i = 0; i < heads.size(); ++i) {
    const size_t longest = std::max(heads[i].size(), Concat(total.counts[i]).size());
    columns.push_back(std::max(longest + 1, kCountColumnsMin));
    counts_width += columns.back();
  }
  const size_t width = static_cast<size_t>(options.width);
  const size_t domain_columns =
      std::max(kDomainColumnsMin, width > counts_width ? width - counts_width : 0);

  std::string text(domain_columns, ' ');
  for (size_t i = 0; i < heads.size(); ++i) AppendRight(&text, heads[i], columns[i]);
  text.push_back('\n');
  std::vector<Row> rows = SortedRows(response, options);
  rows.insert(rows.begin(), total);
  if (options.rows_max > 0 && rows.size() > options.rows_max) rows.resize(options.rows_max);
  for (const Row& row : rows) {
    AppendRight(&text, ShortDomain(row.domain, domain_columns), domain_columns);
    for (size_t i = 0; i < columns.size(); ++i)
      AppendRight(&text, Concat(row.counts[i]), columns[i]);
    text.push_back('\n');
  }
  return text;
}

}  // namespace postfleet::commands
