#include "commands/cluster_command.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <thread>

#include "commands/cluster_client.h"
#include "commands/cluster_recover.h"
#include "commands/cluster_report.h"
#include "commands/interrupt_notice.h"
#include "commands/progress_line.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postfleet [-c config_dir] cluster status [--json] | cluster add [name] | "
    "cluster remove name | cluster transfer [name] | cluster recover --lose-what-others-have";

using Arguments = std::vector<std::string>;

// What one verb works with.
struct Work {
  ClusterClient client;
  Console& console;
  const Streams& streams;
};

int Failed(Console& console, std::string_view what, const absl::Status& status) {
  return console.Fatal(Concat(what, " - ", Showable(std::string(status.message()))));
}

int Status(Work& work, const Arguments& arguments) {
  const bool json = arguments == Arguments{"--json"};
  if (!json && !arguments.empty()) return work.console.Usage(kUsage);
  const absl::StatusOr<ClusterView> view = work.client.AskAll();
  if (!view.ok()) return Failed(work.console, "Cluster report unavailable", view.status());
  return work.console.Write(json ? ClusterJson(*view) : ClusterTable(*view))
             ? work.console.Finish()
             : work.console.WriteFailed();
}

int Remove(Work& work, const Arguments& arguments) {
  if (arguments.size() != 1) return work.console.Usage(kUsage);
  const absl::Status removed = work.client.Remove(arguments[0]);
  if (!removed.ok()) {
    return Failed(work.console, Concat("Cannot remove ", Showable(arguments[0])), removed);
  }
  work.console.Say(Concat(Showable(arguments[0]),
                          ": removed; take it out of postfleet_cluster_members, or it joins again "
                          "once its folder is empty"));
  return work.console.Finish();
}

int Transfer(Work& work, const Arguments& arguments) {
  if (arguments.size() > 1) return work.console.Usage(kUsage);
  const absl::StatusOr<std::string> leader =
      work.client.Transfer(arguments.empty() ? "" : arguments[0]);
  if (!leader.ok()) return Failed(work.console, "Cannot let another member lead", leader.status());
  work.console.Say(Concat(Showable(*leader), " leads"));
  return work.console.Finish();
}

// How far a node is on its way to a vote.
std::string StageOf(const ClusterRow* row, const ClusterView& view) {
  if (row == nullptr || (!row->member && !row->answers)) return "does not answer";
  if (!row->member) return "waits to be taken in";
  if (!row->learner) return row->answers ? "votes" : "votes, and does not answer";
  if (row->snapshot) return "gets a snapshot";
  if (!row->match || *row->match == 0) return "learner, has nothing yet";
  return Concat("learner, ", std::max(view.last_index, *row->match) - *row->match,
                " entries behind");
}

bool Votes(const ClusterRow* row) { return row != nullptr && row->member && !row->learner; }

int Add(Work& work, const Arguments& arguments) {
  if (arguments.size() > 1) return work.console.Usage(kUsage);
  Arguments names = arguments;
  if (names.empty()) {
    for (const auto& member : work.client.members()) names.push_back(member.name);
  } else if (FindClusterMember(work.client.members(), names[0]) == nullptr) {
    return work.console.Fatal(Concat(Showable(names[0]),
                                     " is not in postfleet_cluster_members: add it there, on all "
                                     "hosts, as name=host:port"));
  }
  work.console.Say(
      "a node is added by starting postfleet-queued on it, with an empty queue_directory and with "
      "its own name in postfleet_cluster_members; waiting until it votes");
  InterruptNotice notice;
  notice.Set("\npostfleet: what was begun goes on; `postfleet cluster status` shows it\n");
  ProgressLine progress("postfleet", work.streams.err);
  while (true) {
    const absl::StatusOr<ClusterView> view = work.client.AskAll();
    std::string text = view.ok() ? "" : "no member of the cluster answers";
    bool all = view.ok();
    for (const std::string& name : names) {
      if (!view.ok() || Votes(view->Find(name))) continue;
      all = false;
      ConcatTo(&text, text.empty() ? "" : "; ", name, ": ", StageOf(view->Find(name), *view));
    }
    if (all) break;
    progress.Show(text);
    std::this_thread::sleep_for(std::chrono::milliseconds(kAddPollMs));
  }
  progress.Clear();
  for (const std::string& name : names) work.console.Say(Concat(Showable(name), ": votes"));
  return work.console.Finish();
}

constexpr struct {
  std::string_view name;
  int (*run)(Work& work, const Arguments& arguments);
} kVerbs[] = {{"add", Add}, {"remove", Remove}, {"status", Status}, {"transfer", Transfer}};

}  // namespace

int RunCluster(const Invocation& call, const Streams& streams) {
  Console console("postfleet", 1, streams);
  if (call.arguments.empty()) return console.Usage(kUsage);
  const Arguments rest(call.arguments.begin() + 1, call.arguments.end());
  // It asks nobody.
  if (call.arguments[0] == "recover") return RunClusterRecover(call, rest, streams);
  const auto* verb = std::find_if(std::begin(kVerbs), std::end(kVerbs),
                                  [&](const auto& row) { return row.name == call.arguments[0]; });
  if (verb == std::end(kVerbs)) return console.Usage(kUsage);
  const absl::StatusOr<config::Config> config =
      console.LoadUnchecked(call.config_directory, {"postfleet_cluster_members"});
  if (!config.ok()) return console.Fatal(config.status());
  absl::StatusOr<ClusterClient> client = ClusterClient::Of(*config);
  if (!client.ok()) return console.Fatal(client.status());
  Work work = {*std::move(client), console, streams};
  return verb->run(work, rest);
}

}  // namespace postfleet::commands
