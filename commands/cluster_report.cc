#include "commands/cluster_report.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_format.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace v1 = cluster::v1;

constexpr std::array<std::string_view, 6> kHeading = {"name",  "role",    "address",
                                                      "index", "applied", "behind"};
using Line = std::array<std::string, kHeading.size()>;

const v1::ShardStatus* ShardOf(const NodeAnswer& answer) {
  if (!answer.status) return nullptr;
  const auto& shards = answer.status->shards();
  const auto found = std::find_if(shards.begin(), shards.end(),
                                  [](const auto& shard) { return shard.shard() == kShownShard; });
  return found == shards.end() ? nullptr : &*found;
}

bool Leads(const v1::ShardStatus& shard) { return shard.role() == v1::ShardStatus::ROLE_LEADER; }

// Whom the table follows; nullptr: nobody who answers is in a cluster.
const NodeAnswer* BestOf(const std::vector<NodeAnswer>& answers) {
  const NodeAnswer* best = nullptr;
  for (const NodeAnswer& answer : answers) {
    const v1::ShardStatus* shard = ShardOf(answer);
    if (shard == nullptr) continue;
    const v1::ShardStatus* before = best == nullptr ? nullptr : ShardOf(*best);
    if (before == nullptr || (Leads(*shard) && !Leads(*before)) ||
        (Leads(*shard) == Leads(*before) && shard->term() > before->term()) ||
        (Leads(*shard) == Leads(*before) && shard->term() == before->term() &&
         shard->membership().index() > before->membership().index())) {
      best = &answer;
    }
  }
  return best;
}

// A node that answers under this id, or under this name when the id is none.
const NodeAnswer* AnswerOf(const std::vector<NodeAnswer>& answers, uint64_t id) {
  const auto found = std::find_if(answers.begin(), answers.end(), [id](const NodeAnswer& answer) {
    return answer.status && answer.status->id() == id;
  });
  return found == answers.end() ? nullptr : &*found;
}

std::string_view RoleOf(const v1::Member& member, const NodeAnswer* answer, uint64_t leader) {
  const v1::ShardStatus* shard = answer == nullptr ? nullptr : ShardOf(*answer);
  if (shard == nullptr) return "unknown";
  if (member.id() == leader && Leads(*shard)) return "leader";
  if (member.learner()) return "learner";
  return shard->role() == v1::ShardStatus::ROLE_FOLLOWER && shard->leader() != 0 ? "follower"
                                                                                 : "unknown";
}

ClusterRow RowOf(const v1::Member& member, const NodeAnswer* answer, const v1::ShardStatus& best) {
  ClusterRow row;
  row.name = member.name();
  row.address = answer == nullptr ? member.address() : answer->asked.address;
  row.member = true;
  row.learner = member.learner();
  row.answers = answer != nullptr;
  row.version = member.version();
  const uint64_t leader = Leads(best) ? best.leader() : 0;
  row.role = RoleOf(member, answer, leader);
  if (const v1::ShardStatus* own = answer == nullptr ? nullptr : ShardOf(*answer)) {
    row.applied = own->applied_index();
  }
  for (const v1::MemberProgress& progress : best.progress()) {
    if (progress.id() != member.id() || !Leads(best)) continue;
    row.match = progress.match_index();
    row.snapshot = progress.snapshot();
  }
  if (leader == member.id() && leader != 0) row.match = best.last_index();
  return row;
}

std::string TextOf(const std::optional<uint64_t>& number) { return number ? Concat(*number) : "-"; }

std::string BehindOf(const ClusterRow& row, const ClusterView& view) {
  if (row.snapshot) return "gets a snapshot";
  if (!row.member) return row.answers ? "is no member yet" : "does not answer";
  std::string text = row.match ? Concat(std::max(view.last_index, *row.match) - *row.match) : "-";
  return row.answers ? text : text + "  does not answer";
}

void AppendText(std::string* json, std::string_view name, std::string_view value) {
  ConcatTo(json, "\"", name, "\": \"");
  for (const char c : Showable(value)) {
    if (c == '"' || c == '\\') json->push_back('\\');
    json->push_back(c);
  }
  json->push_back('"');
}

void AppendNumber(std::string* json, std::string_view name, const std::optional<uint64_t>& value) {
  ConcatTo(json, ", \"", name, "\": ", value ? Concat(*value) : "null");
}

}  // namespace

const ClusterRow* ClusterView::Find(std::string_view name) const {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [name](const ClusterRow& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

ClusterView ViewOf(const std::vector<NodeAnswer>& answers) {
  ClusterView view;
  if (const NodeAnswer* best = BestOf(answers)) {
    const v1::ShardStatus& shard = *ShardOf(*best);
    view.cluster_id = best->status->cluster_id();
    view.term = shard.term();
    view.last_index = shard.last_index();
    for (const v1::Member& member : shard.membership().members()) {
      view.rows.push_back(RowOf(member, AnswerOf(answers, member.id()), shard));
      if (view.rows.back().role != "leader") continue;
      view.leader = member.name();
      view.leader_address = best->asked.address;
    }
  }
  for (const NodeAnswer& answer : answers) {
    if (view.Find(answer.asked.name) != nullptr) continue;
    ClusterRow& row = view.rows.emplace_back();
    row.name = answer.asked.name;
    row.address = answer.asked.address;
    row.answers = answer.status.has_value();
    row.version = answer.status ? answer.status->version() : 0;
  }
  return view;
}

std::string ClusterTable(const ClusterView& view) {
  std::vector<Line> lines(1);
  std::copy(kHeading.begin(), kHeading.end(), lines[0].begin());
  for (const ClusterRow& row : view.rows) {
    lines.push_back({Showable(row.name), std::string(row.role), Showable(row.address),
                     TextOf(row.match), TextOf(row.applied), BehindOf(row, view)});
  }
  std::array<size_t, kHeading.size()> widths = {};
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text =
      view.cluster_id == 0
          ? std::string("no cluster is founded yet\n")
          : Concat(
                "cluster ", absl::StrFormat("%016x", view.cluster_id), ", term ", view.term, ", ",
                view.leader.empty() ? "no leader" : Concat("leader ", Showable(view.leader)), "\n");
  for (const Line& line : lines) {
    for (size_t i = 0; i + 1 < line.size(); ++i) {
      ConcatTo(&text, line[i], std::string(widths[i] - line[i].size() + 2, ' '));
    }
    ConcatTo(&text, line.back(), "\n");
  }
  return text;
}

std::string ClusterJson(const ClusterView& view) {
  std::string json = "{";
  AppendText(&json, "cluster", absl::StrFormat("%016x", view.cluster_id));
  json += ", ";
  if (view.leader.empty()) {
    json += "\"leader\": null";
  } else {
    AppendText(&json, "leader", view.leader);
  }
  AppendNumber(&json, "term", view.term);
  AppendNumber(&json, "shard", kShownShard);
  json += ", \"members\": [";
  for (size_t i = 0; i < view.rows.size(); ++i) {
    const ClusterRow& row = view.rows[i];
    json += i == 0 ? "{" : ", {";
    AppendText(&json, "name", row.name);
    json += ", ";
    AppendText(&json, "address", row.address);
    json += ", ";
    AppendText(&json, "role", row.role);
    ConcatTo(&json, ", \"member\": ", row.member ? "true" : "false");
    AppendNumber(&json, "match", row.match);
    AppendNumber(&json, "applied", row.applied);
    ConcatTo(&json, ", \"active\": ", row.answers ? "true" : "false");
    AppendNumber(&json, "version", row.version);
    json += "}";
  }
  return json + "]}\n";
}

}  // namespace postfleet::commands
