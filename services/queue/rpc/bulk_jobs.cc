#include "services/queue/rpc/bulk_jobs.h"

#include <rocksdb/db.h>

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/base/queue_id.h"
#include "services/queue/rpc/administer_call.h"
#include "services/queue/state/message_queue.h"

namespace postfleet::queue {
namespace {

// What postsuper says of a message; empty: nothing.
std::string_view DoneWords(v1::Action action) {
  switch (action) {
    case v1::ACTION_DELETE:
      return ": removed";
    case v1::ACTION_HOLD:
      return ": placed on hold";
    case v1::ACTION_RELEASE:
      return ": released from hold";
    case v1::ACTION_REQUEUE:
      return ": requeued";
    case v1::ACTION_EXPIRE:
    case v1::ACTION_EXPIRE_RELEASE:
      return ": expired";
    default:
      return {};
  }
}

std::string IdOfNow(const Clock& clock) {
  const int64_t now_ms = clock.WallMillis();
  return FormatQueueId(now_ms / 1'000, static_cast<int32_t>(now_ms % 1'000) * 1'000, 0);
}

// The greatest queue id of the store; empty: there is none.
absl::StatusOr<std::string> LastQueueId(const Store& store, const Clock& clock) {
  const std::unique_ptr<rocksdb::Iterator> rows(
      store.db()->NewIterator({}, store.family(Family::kMessage)));
  rows->SeekToLast();
  if (rows->Valid()) return rows->key().ToString();
  // A damaged block: as good as it gets.
  if (rows->status().IsCorruption()) return IdOfNow(clock);
  if (!rows->status().ok()) return ToStatus(rows->status(), "find the last message");
  return std::string();
}

template <typename Request>
void AddQueues(const std::vector<v1::QueueName>& queues, Request* request) {
  for (v1::QueueName queue : queues) request->add_queues(queue);
}

}  // namespace

WantedQueues WantedQueues::Of(const google::protobuf::RepeatedField<int>& queues) {
  WantedQueues wanted;
  for (const int queue : queues) {
    wanted.incoming |= queue == v1::QUEUE_NAME_INCOMING;
    wanted.active |= queue == v1::QUEUE_NAME_ACTIVE;
    wanted.deferred |= queue == v1::QUEUE_NAME_DEFERRED;
    wanted.hold |= queue == v1::QUEUE_NAME_HOLD;
    wanted.corrupt |= queue == v1::QUEUE_NAME_CORRUPT;
  }
  return wanted;
}

WantedQueues WantedQueues::Of(const v1::AdministerAllRequest& request) {
  if (request.queues_size() > 0) return Of(request.queues());
  switch (request.action()) {
    case v1::ACTION_RELEASE:
      return {.hold = true};
    case v1::ACTION_EXPIRE:
    case v1::ACTION_EXPIRE_RELEASE:
      return {.deferred = true, .hold = true};
    default:
      return {.incoming = true, .active = true, .deferred = true, .hold = true};
  }
}

std::vector<v1::QueueName> WantedQueues::Durable() const {
  std::vector<v1::QueueName> queues;
  if (incoming) queues.push_back(v1::QUEUE_NAME_INCOMING);
  if (deferred) queues.push_back(v1::QUEUE_NAME_DEFERRED);
  if (hold) queues.push_back(v1::QUEUE_NAME_HOLD);
  if (corrupt) queues.push_back(v1::QUEUE_NAME_CORRUPT);
  return queues;
}

BulkJobs::BulkJobs(const World& world) : world_(world), retry_timer_(*world.state_loop) {
  scan_loop_.Start();
}

BulkJobs::~BulkJobs() { Stop(); }

void BulkJobs::Stop() { scan_loop_.Stop(); }

void BulkJobs::Resume() {
  ++life_;
  closed_ = false;
  busy_ = false;
  stuck_ = false;
  running_ = {};
  Next();
}

void BulkJobs::Pause() {
  closed_ = true;
  retry_timer_.Cancel();
  watchers_.clear();
  for (const auto& stream : std::exchange(open_, {})) {
    if (const Watcher watcher = stream.lock()) {
      watcher->End(
          {grpc::StatusCode::UNAVAILABLE, "the queue is stopping; a job goes on when it is back"});
    }
  }
}

void BulkJobs::MergeProgress(v1::AdministerAllProgress* waiting, v1::AdministerAllProgress later) {
  const auto append = [](auto* to, auto* from) {
    const int room = std::max(0, kToldIdsMax - to->size());
    for (int i = 0; i < std::min(room, from->size()); ++i) {
      to->Add(std::move(*from->Mutable(i)));
    }
    from->Swap(to);
  };
  append(waiting->mutable_queue_ids(), later.mutable_queue_ids());
  append(waiting->mutable_new_queue_ids(), later.mutable_new_queue_ids());
  *waiting = std::move(later);
}

// ---- What is asked for

void BulkJobs::Begin(const v1::AdministerAllRequest& request, Watcher watcher) {
  if (closed_) return watcher->End({grpc::StatusCode::UNAVAILABLE, "the queue is stopping"});
  std::erase_if(open_, [](const auto& stream) { return stream.expired(); });
  open_.push_back(watcher);
  auto wish =
      std::make_shared<Wish>(Wish{request.action(), WantedQueues::Of(request), std::move(watcher)});
  wish->total = Count(wish->queues);
  if (request.dry_run()) return CountOnly(std::move(wish));
  const WantedQueues& queues = wish->queues;
  if (request.action() == v1::ACTION_FLUSH) return FlushAll(std::move(wish));
  const bool everything = queues.incoming && queues.active && queues.deferred && queues.hold &&
                          (queues.corrupt || world_.machine->counts().corrupt_messages() == 0);
  if (request.action() == v1::ACTION_DELETE && everything) return Purge(std::move(wish));
  if (!queues.active || !queues.SplitsActive()) return Start(std::move(wish));
  DoActive(std::move(wish), world_.dispatcher->ActiveIds());
}

uint64_t BulkJobs::Count(const WantedQueues& queues) const {
  const state::Counts& counts = world_.machine->counts();
  return (queues.incoming ? counts.incoming_messages() : 0) +
         (queues.deferred ? counts.deferred_messages() : 0) +
         (queues.hold ? counts.hold_messages() : 0) +
         (queues.corrupt ? counts.corrupt_messages() : 0);
}

void BulkJobs::CountOnly(std::shared_ptr<Wish> wish) {
  if (!wish->queues.SplitsActive()) {
    v1::AdministerAllProgress progress;
    progress.set_total(wish->total);
    progress.set_done(true);
    wish->watcher->Tell(std::move(progress));
    return wish->watcher->End(grpc::Status::OK);
  }
  // The counts have active messages under the queue that their rows are in.
  scan_loop_.Post([this, wish, active = world_.dispatcher->ActiveIds()] {
    uint64_t incoming = 0;
    uint64_t deferred = 0;
    for (const std::string& queue_id : active) {
      const auto row = world_.reader->ReadMessage(queue_id);
      if (!row.ok() || !row->has_value()) continue;
      const v1::QueueName queue = DurableQueueOf(**row);
      incoming += queue == v1::QUEUE_NAME_INCOMING;
      deferred += queue == v1::QUEUE_NAME_DEFERRED;
    }
    const WantedQueues& queues = wish->queues;
    const uint64_t without =
        queues.active ? 0 : (queues.incoming ? incoming : 0) + (queues.deferred ? deferred : 0);
    const uint64_t with =
        queues.active ? (queues.incoming ? 0 : incoming) + (queues.deferred ? 0 : deferred) : 0;
    v1::AdministerAllProgress progress;
    progress.set_total(wish->total + with - std::min(without, wish->total));
    progress.set_done(true);
    wish->watcher->Tell(std::move(progress));
    wish->watcher->End(grpc::Status::OK);
  });
}

void BulkJobs::Propose(state::Command command, const Watcher& watcher, Applied applied,
                       std::function<void()> refused) {
  const auto refuse = [watcher, refused = std::move(refused)](grpc::Status status) {
    if (refused) refused();
    if (watcher != nullptr) watcher->End(std::move(status));
  };
  Proposal proposal;
  proposal.command = std::move(command);
  proposal.done = [refuse,
                   applied = std::move(applied)](const absl::StatusOr<const Effects*>& effects) {
    if (effects.ok()) return applied(**effects);
    refuse({grpc::StatusCode::UNKNOWN, std::string(effects.status().message())});
  };
  if (pipeline_->Propose(std::move(proposal), /*must=*/true)) return;
  refuse({grpc::StatusCode::UNAVAILABLE, "the queue is stopping"});
}

void BulkJobs::FlushAll(std::shared_ptr<Wish> wish) {
  v1::AdministerAllProgress progress;
  progress.set_done(true);
  if (!wish->queues.deferred) {
    wish->watcher->Tell(std::move(progress));
    return wish->watcher->End(grpc::Status::OK);
  }
  state::Command command;
  command.mutable_flush();
  Propose(std::move(command), wish->watcher, [this, wish, progress](const Effects&) mutable {
    progress.set_changed(world_.machine->counts().deferred_messages());
    progress.set_total(progress.changed());
    wish->watcher->Tell(std::move(progress));
    wish->watcher->End(grpc::Status::OK);
  });
}

void BulkJobs::Purge(std::shared_ptr<Wish> wish) {
  scan_loop_.Post([this, wish] {
    const uint64_t used_bytes = world_.disk_space->UsedBytes();
    world_.state_loop->Post([this, wish, used_bytes] {
      state::Command command;
      command.mutable_purge()->set_unless_corrupt(!wish->queues.corrupt);
      Propose(std::move(command), wish->watcher, [this, wish, used_bytes](const Effects& effects) {
        // Too many messages are being sent in for a few range tombstones, or some became corrupt.
        if (!effects.refused.empty()) return Start(wish);
        maillog::Info("queue", "all mail was deleted: ", effects.purged_messages, " messages");
        const uint64_t purged = effects.purged_messages;
        Finish(purged, {{wish->watcher, 0}}, purged, purged, used_bytes);
      });
    });
  });
}

// Not durable: who is active is not either.
void BulkJobs::DoActive(std::shared_ptr<Wish> wish, std::vector<std::string> queue_ids) {
  if (queue_ids.empty()) return Start(std::move(wish));
  const size_t count = std::min<size_t>(queue_ids.size(), kCommandIdsMax);
  const std::vector<std::string> now(queue_ids.end() - static_cast<std::ptrdiff_t>(count),
                                     queue_ids.end());
  queue_ids.resize(queue_ids.size() - count);
  auto step = [this, wish, now,
               rest = std::move(queue_ids)](const Withholding::StillOut& still_out) mutable {
    state::Command command;
    state::Administer& request = *command.mutable_administer();
    request.set_action(wish->action);
    for (std::string& queue_id : Withholding::LeaveOut(now, still_out)) {
      request.add_queue_ids(std::move(queue_id));
    }
    AddQueues({v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED}, &request);
    const auto restore = [this, wish, now] {
      if (wish->action == v1::ACTION_REQUEUE) world_.withholding->End(now);
    };
    Propose(
        std::move(command), wish->watcher,
        [this, wish, restore, rest = std::move(rest)](const Effects& effects) mutable {
          restore();
          wish->changed += effects.changed.size();
          Log(effects);
          wish->watcher->Tell(ProgressOf(effects, wish->changed, wish->total));
          rest.insert(rest.end(), effects.left.begin(), effects.left.end());
          DoActive(std::move(wish), std::move(rest));
        },
        restore);
  };
  if (wish->action == v1::ACTION_REQUEUE) {
    world_.withholding->Begin(now, AdministerCall::kRequeueWaitMax, step);
  } else {
    step({});
  }
}

void BulkJobs::Start(std::shared_ptr<Wish> wish) {
  const auto nothing = [wish] {
    v1::AdministerAllProgress progress;
    progress.set_changed(wish->changed);
    progress.set_total(wish->changed);
    progress.set_done(true);
    wish->watcher->Tell(std::move(progress));
    wish->watcher->End(grpc::Status::OK);
  };
  if (wish->queues.Durable().empty()) return nothing();
  scan_loop_.Post([this, wish, nothing] {
    absl::StatusOr<std::string> last = LastQueueId(*world_.store, *world_.clock);
    if (!last.ok()) {
      return wish->watcher->End({grpc::StatusCode::INTERNAL, std::string(last.status().message())});
    }
    if (last->empty()) return nothing();
    // The new ids of a requeue must lie behind it, whatever clock the last one was made by.
    if (wish->action == v1::ACTION_REQUEUE) last = std::min(*last, IdOfNow(*world_.clock));
    world_.state_loop->Post([this, wish, last = *std::move(last)] {
      state::Command command;
      command.mutable_start_bulk()->set_action(wish->action);
      command.mutable_start_bulk()->set_last_queue_id(last);
      AddQueues(wish->queues.Durable(), command.mutable_start_bulk());
      // Apply takes no notice of it: it says that those in delivery belong to it.
      if (wish->queues.active) command.mutable_start_bulk()->add_queues(v1::QUEUE_NAME_ACTIVE);
      Propose(std::move(command), wish->watcher, [this, wish](const Effects& effects) {
        if (effects.bulk_started == 0) {
          return wish->watcher->End({grpc::StatusCode::RESOURCE_EXHAUSTED, effects.refused});
        }
        v1::AdministerAllProgress progress;
        progress.set_job_id(effects.bulk_started);
        progress.set_jobs_before(static_cast<uint32_t>(world_.machine->bulks().size() - 1));
        progress.set_changed(wish->changed);
        progress.set_total(std::max(wish->total, wish->changed));
        wish->watcher->Tell(std::move(progress));
        watchers_[effects.bulk_started].push_back({wish->watcher, wish->changed});
        Next();
      });
    });
  });
}

v1::ListJobsResponse BulkJobs::Jobs() const {
  v1::ListJobsResponse response;
  for (const state::Bulk& bulk : world_.machine->bulks()) {
    v1::Job& job = *response.add_jobs();
    job.set_id(bulk.id());
    job.set_action(bulk.action());
    *job.mutable_queues() = bulk.queues();
    job.set_changed(bulk.changed());
    job.set_total(std::max(bulk.total(), bulk.changed()));
  }
  return response;
}

void BulkJobs::StopJob(uint64_t id, std::function<void(absl::StatusOr<bool> stopped)> done) {
  Proposal proposal;
  proposal.command.mutable_stop_bulk()->set_id(id);
  proposal.done = [this, id, done](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok()) return done(effects.status());
    const bool stopped = (*effects)->bulk_stopped == id;
    if (stopped) OnStopped(id);
    done(stopped);
  };
  if (!pipeline_->Propose(std::move(proposal), /*must=*/true)) {
    done(absl::UnavailableError("the queue is stopping"));
  }
}

void BulkJobs::OnStopped(uint64_t id) {
  maillog::Info("queue", "bulk job ", id, " was stopped",
                id == running_.id ? Concat(": ", running_.changed, " messages") : "");
  EndWatching(id, {grpc::StatusCode::ABORTED, "the job was stopped"});
  if (id == running_.id) world_.withholding->Cut(withheld_);
  // Of one on its way, the next step is refused.
  if (id == running_.id && std::exchange(stuck_, false)) busy_ = false;
  Next();
}

// ---- The job that runs

void BulkJobs::Adopt(const state::Bulk& job) {
  running_ = {.id = job.id(),
              .action = job.action(),
              .queues = WantedQueues::Of(job.queues()),
              .changed = job.changed(),
              .total = job.total()};
  // Of a job that named no queues: all.
  if (job.queues_size() == 0) running_.queues = {true, true, true, true, true};
  running_.messages_before = Count({true, true, true, true, true});
  step_ids_ = kStepIdsFirst;
  maillog::Info("queue", "bulk job ", job.id(),
                job.cursor().empty() ? " begins: " : " goes on: ", v1::Action_Name(job.action()),
                ", about ", job.total(), " messages, ", job.changed(), " done");
}

void BulkJobs::Next() {
  if (busy_ || closed_ || world_.machine->bulks().empty()) return;
  busy_ = true;
  const state::Bulk& job = world_.machine->bulks().Get(0);
  if (job.id() != running_.id) Adopt(job);
  const size_t ids_max =
      job.action() == v1::ACTION_REQUEUE ? std::min(step_ids_, kRequeueIdsMax) : step_ids_;
  std::vector<v1::QueueName> queues = running_.queues.Durable();
  // Incoming has no index: then none is used. Apply leaves out what is not asked for.
  if (running_.by_row) queues.push_back(v1::QUEUE_NAME_INCOMING);
  scan_loop_.Post([this, ids_max, after = job.cursor(), last = job.last_queue_id(),
                   queues = std::move(queues),
                   // What cannot be read is as corrupt as what is marked so.
                   damaged = job.action() == v1::ACTION_DELETE && running_.queues.corrupt,
                   measure = !running_.used_bytes_before.has_value(), life = life_] {
    const uint64_t used_bytes = measure ? world_.disk_space->UsedBytes() : 0;
    absl::StatusOr<IdPage> page = world_.reader->ScanQueues({.queues = queues,
                                                             .damaged = damaged,
                                                             .after = after,
                                                             .last = last,
                                                             .ids_max = ids_max,
                                                             .recipients_max = kStepRecipientsMax});
    world_.state_loop->Post([this, used_bytes, life, page = std::move(page)]() mutable {
      if (life != life_) return;
      if (!running_.used_bytes_before.has_value()) running_.used_bytes_before = used_bytes;
      OnPage(std::move(page));
    });
  });
}

bool BulkJobs::IsCurrent() const {
  return !world_.machine->bulks().empty() && world_.machine->bulks().Get(0).id() == running_.id;
}

void BulkJobs::OnPage(absl::StatusOr<IdPage> page) {
  if (!IsCurrent()) {
    busy_ = false;
    return Next();
  }
  if (!page.ok()) {
    if (absl::IsDataLoss(page.status()) && !std::exchange(running_.by_row, true)) {
      maillog::Warning("queue", "bulk job ", running_.id, ": ",
                       std::string(page.status().message()), "; it looks at all messages instead");
      busy_ = false;
      return Next();
    }
    // Going on would end in the same place. `verify` says what is wrong.
    IdPage end;
    end.end = true;
    running_.cut_short = true;
    FailJob(std::string(page.status().message()));
    return Step({}, {}, end);
  }
  if (!running_.queues.active) {
    std::erase_if(page->queue_ids,
                  [this](const std::string& id) { return world_.dispatcher->IsActive(id); });
  }
  std::vector<std::string> queue_ids = std::move(page->queue_ids);
  if (running_.action != v1::ACTION_REQUEUE) return Step(std::move(queue_ids), {}, *page);
  std::vector<std::string> active;
  for (const std::string& queue_id : queue_ids) {
    if (world_.dispatcher->IsActive(queue_id)) active.push_back(queue_id);
  }
  withheld_ = world_.withholding->Begin(
      queue_ids, AdministerCall::kRequeueWaitMax,
      [this, queue_ids, active, page = *page, life = life_](const Withholding::StillOut& out) {
        if (life != life_) return world_.withholding->End(queue_ids);
        OnWithheld(queue_ids, active, out, page);
      });
}

void BulkJobs::OnWithheld(std::vector<std::string> queue_ids,
                          const std::vector<std::string>& active, const Withholding::StillOut& out,
                          const IdPage& page) {
  // The next start begins with this page.
  if (closed_) return;
  if (!IsCurrent()) {
    world_.withholding->End(queue_ids);
    busy_ = false;
    return Next();
  }
  std::vector<std::string> free = Withholding::LeaveOut(queue_ids, out);
  for (const std::string& queue_id : active) {
    // Who parked it meanwhile has the later word.
    const auto row = world_.reader->ReadMessage(queue_id);
    if (row.ok() && row->has_value() && IsParked(**row)) std::erase(free, queue_id);
  }
  Step(std::move(free), std::move(queue_ids), page);
}

void BulkJobs::Step(std::vector<std::string> queue_ids, std::vector<std::string> withheld,
                    const IdPage& page) {
  // The next start begins with this step.
  if (closed_) return;
  state::Command command;
  state::Administer& request = *command.mutable_administer();
  request.set_action(running_.action);
  for (const std::string& queue_id : queue_ids) request.add_queue_ids(queue_id);
  AddQueues(running_.queues.Durable(), &request);
  request.mutable_bulk()->set_id(running_.id);
  request.mutable_bulk()->set_cursor(page.cursor);
  request.mutable_bulk()->set_done(page.end);
  Proposal proposal;
  proposal.command = std::move(command);
  proposal.done = [this, withheld = std::move(withheld),
                   life = life_](const absl::StatusOr<const Effects*>& effects) {
    world_.withholding->End(withheld);
    if (closed_ || life != life_) return;
    if (effects.ok()) return OnStepped(**effects, pipeline_->last_administer_time());
    // A full disk: it is tried again, for there is nobody else who would.
    maillog::Warning("queue", "bulk job ", running_.id, ": ",
                     std::string(effects.status().message()), "; it is tried again");
    retry_timer_.Set(kRetryInterval, [this] {
      busy_ = false;
      Next();
    });
  };
  static_cast<void>(pipeline_->Propose(std::move(proposal), /*must=*/true));
}

void BulkJobs::OnStepped(const Effects& effects, std::chrono::steady_clock::duration took) {
  if (!effects.refused.empty() && !IsCurrent()) {
    busy_ = false;
    return Next();
  }
  if (!effects.refused.empty()) {
    stuck_ = true;
    // Nobody else makes steps: a defect. The job stays for the next start.
    maillog::Error("queue", "bulk job ", running_.id, ": a step was refused: ", effects.refused);
    return FailJob(effects.refused);
  }
  if (effects.changed.size() * 2 > step_ids_ || took > kStepMillis) {
    const double factor = std::clamp(
        std::chrono::duration<double>(kStepMillis) / std::max(took, decltype(took)(1'000)), 0.25,
        2.0);
    step_ids_ = std::clamp(static_cast<size_t>(static_cast<double>(step_ids_) * factor),
                           kStepIdsMin, size_t{kBulkIdsMax});
  }
  running_.changed += effects.changed.size();
  Log(effects);
  if (effects.bulk_ended != 0) {
    EndJob();
  } else if (const auto found = watchers_.find(running_.id); found != watchers_.end()) {
    std::erase_if(found->second, [](const Watching& one) { return one.watcher->cancelled(); });
    for (const auto& [watcher, before] : found->second) {
      v1::AdministerAllProgress progress =
          ProgressOf(effects, before + running_.changed, before + running_.total);
      progress.set_job_id(running_.id);
      watcher->Tell(std::move(progress));
    }
  }
  busy_ = false;
  Next();
}

void BulkJobs::EndJob() {
  maillog::Info("queue", "bulk job ", running_.id,
                running_.cut_short ? " ended early: " : " is done: ", running_.changed,
                " messages");
  std::vector<Watching> watchers;
  if (auto node = watchers_.extract(running_.id)) watchers = std::move(node.mapped());
  Finish(running_.changed, std::move(watchers),
         running_.action == v1::ACTION_DELETE ? running_.changed : 0, running_.messages_before,
         running_.used_bytes_before.value_or(0));
}

void BulkJobs::FailJob(const std::string& reason) {
  maillog::Error("queue", "bulk job ", running_.id, ": ", reason);
  EndWatching(running_.id, {grpc::StatusCode::INTERNAL, reason});
}

void BulkJobs::EndWatching(uint64_t id, const grpc::Status& status) {
  auto node = watchers_.extract(id);
  if (!node) return;
  for (const Watching& one : node.mapped()) one.watcher->End(status);
}

// ---- What is told

void BulkJobs::Log(const Effects& effects) const {
  const std::string_view words = DoneWords(effects.action);
  if (words.empty()) return;
  for (const std::string& queue_id : effects.changed) maillog::Info("postsuper", queue_id, words);
}

v1::AdministerAllProgress BulkJobs::ProgressOf(const Effects& effects, uint64_t changed,
                                               uint64_t total) {
  v1::AdministerAllProgress progress;
  progress.set_changed(changed);
  progress.set_total(std::max(total, changed));
  *progress.mutable_queue_ids() = {effects.changed.begin(), effects.changed.end()};
  *progress.mutable_new_queue_ids() = {effects.new_queue_ids.begin(), effects.new_queue_ids.end()};
  return progress;
}

void BulkJobs::Finish(uint64_t changed, std::vector<Watching> watchers, uint64_t deleted_messages,
                      uint64_t messages_before, uint64_t used_bytes_before) {
  auto tell = [changed, watchers = std::move(watchers)](uint64_t freed_bytes) {
    for (const auto& [watcher, before] : watchers) {
      v1::AdministerAllProgress progress;
      progress.set_changed(before + changed);
      progress.set_total(progress.changed());
      progress.set_freed_bytes(freed_bytes);
      progress.set_done(true);
      watcher->Tell(std::move(progress));
      watcher->End(grpc::Status::OK);
    }
  };
  // A compaction of the whole store is worth it when much of it is gone.
  if (deleted_messages < kReclaimMessagesMin || deleted_messages < messages_before / 4) {
    return tell(0);
  }
  // Whoever is first: the compaction, or the end of patience.
  struct Last {
    explicit Last(runtime::EventLoop& loop) : timer(loop) {}
    void Tell(uint64_t freed_bytes) {
      timer.Cancel();
      if (tell != nullptr) std::exchange(tell, nullptr)(freed_bytes);
    }
    runtime::Timer timer;
    std::function<void(uint64_t)> tell;
  };
  auto last = std::make_shared<Last>(*world_.state_loop);
  last->tell = std::move(tell);
  last->timer.Set(kFreedWaitMax, [last] { last->Tell(0); });
  // Moving what is left costs no more than what is gone.
  const auto alive =
      deleted_messages >= messages_before / 2 ? DiskSpace::Alive::kMove : DiskSpace::Alive::kLeave;
  world_.disk_space->Reclaim(alive, [this, last, used_bytes_before](uint64_t used_bytes) {
    const uint64_t freed = used_bytes_before - std::min(used_bytes_before, used_bytes);
    maillog::Info("queue", freed, " bytes of disk space are given back");
    world_.state_loop->Post([last, freed] { last->Tell(freed); });
  });
}

}  // namespace postfleet::queue
