// postfleet cluster ...: the replicas of the queue.
//
//   postfleet cluster status [--json]     who leads, who follows, how far each is
//   (cluster_report.h) postfleet cluster add [NAME]          says how a node is added, and waits
//   until it votes postfleet cluster remove NAME         takes a member out for good postfleet
//   cluster transfer [NAME]     lets another member lead postfleet cluster recover ...
//   cluster_recover.h
//
// Asked of the members that postfleet_cluster_members lists, from any host that has the list. Exit
// status 1 after an error, also when nobody answers or leads.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

// How often `add` looks.
inline constexpr int kAddPollMs = 300;

int RunCluster(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
