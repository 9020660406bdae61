#include "commands/administration.h"

#include <cstdio>
#include <utility>

#include "commands/interrupt_notice.h"
#include "commands/queue_pages.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"

namespace postfleet::commands {
namespace {

constexpr size_t kDeleteRow = 1;
static_assert(kActions[kDeleteRow].letter == 'd');

namespace v1 = queue::v1;

// -f is -e, and -H for what is held.
bool Asks(char letter, const ActionWords& words) {
  return letter == words.letter || (letter == 'f' && (words.letter == 'e' || words.letter == 'H'));
}

// Whether an action would change this message; the queue itself decides when it is done.
bool WouldChange(v1::Action action, const v1::ListedMessage& message) {
  switch (action) {
    case v1::ACTION_HOLD:
      return message.queue() != v1::QUEUE_NAME_HOLD && message.queue() != v1::QUEUE_NAME_CORRUPT;
    case v1::ACTION_RELEASE:
      return message.queue() == v1::QUEUE_NAME_HOLD || message.queue() == v1::QUEUE_NAME_CORRUPT;
    case v1::ACTION_EXPIRE:
      return message.queue() != v1::QUEUE_NAME_CORRUPT && !message.forced_expire();
    default:
      return true;
  }
}

std::string ProgressText(const v1::AdministerAllProgress& progress) {
  if (progress.jobs_before() == 0) return CountOf(progress.changed(), progress.total());
  return Concat("waits for jobs before it: ", progress.jobs_before());
}

std::string GoesOn(uint64_t job_id) {
  return Concat("while the mail system runs it goes on with this as job ", job_id,
                ": `postfleet queue jobs` shows it, `postfleet queue jobs --stop ", job_id,
                "` ends it");
}

template <typename Request>
void SetQueues(const WantedQueues& queues, Request* request) {
  if (queues) *request->mutable_queues() = {queues->begin(), queues->end()};
}

}  // namespace

Administration::Administration(QueueClient client, Console& console, ProgressLine& progress,
                               WantedQueues wanted, bool dry_run, bool verbose,
                               WaitingMail* maildrop)
    : client_(std::move(client)),
      console_(console),
      progress_(progress),
      wanted_(std::move(wanted)),
      dry_run_(dry_run),
      verbose_(verbose),
      maildrop_(maildrop) {}

bool Administration::Fail(size_t row, const absl::Status& status) {
  failed_row_ = row;
  status_ = status;
  return false;
}

WantedQueues Administration::QueuesOf(size_t row, bool named) const {
  if (kActions[row].action != v1::ACTION_RELEASE) return wanted_;
  // -f releases held mail only; so does -H, but that a named id is also taken from corrupt.
  std::set<v1::QueueName> parked = {v1::QUEUE_NAME_HOLD};
  if (letter_ != 'f' && (named || wanted_)) parked.insert(v1::QUEUE_NAME_CORRUPT);
  if (wanted_) std::erase_if(parked, [&](v1::QueueName name) { return !wanted_->contains(name); });
  return parked;
}

bool Administration::Step(char letter, const std::string& target, FILE* in) {
  if (letter != letter_ && !Finish()) return false;
  letter_ = letter;
  for (size_t row = 0; row < kActions.size(); ++row) {
    if (Asks(letter, kActions[row]) && !counts_[row]) counts_[row] = 0;
  }
  if (target == "-") return QueueRead(in);
  if (target != "ALL") return Queue(target);
  if (!Finish()) return false;
  for (size_t row = 0; row < kActions.size(); ++row) {
    if (Asks(letter, kActions[row]) && !DoAll(row)) return false;
  }
  return true;
}

bool Administration::Finish() { return (queue_ids_.empty() && warnings_.empty()) || DoNamed(); }

bool Administration::Queue(const std::string& queue_id) {
  if (!IsQueueId(queue_id)) {
    warnings_.emplace_back(queue_ids_.size(),
                           Concat("invalid mail queue id: ", Showable(queue_id)));
  } else if (waiting_.insert(queue_id).second) {
    queue_ids_.push_back(queue_id);
  }
  const bool is_full = queue_ids_.size() == kCallIdsMax || warnings_.size() == kCallIdsMax;
  return !is_full || DoNamed();
}

bool Administration::QueueRead(FILE* in) {
  // Of a line without end only its beginning is kept: it is no id.
  constexpr size_t kLineBytesMax = 1'024;
  std::string line;
  bool going = true;
  int c;
  while (going && ((c = getc(in)) != EOF || !line.empty())) {
    if (c != '\n' && c != EOF) {
      if (line.size() < kLineBytesMax) line.push_back(static_cast<char>(c));
      continue;
    }
    if (line.ends_with('\r')) line.pop_back();
    going = Queue(std::exchange(line, {}));
  }
  return going;
}

bool Administration::DoNamed() {
  std::vector<std::string> said(queue_ids_.size());
  bool going = true;
  for (size_t row = 0; going && row < kActions.size(); ++row) {
    if (!Asks(letter_, kActions[row]) || queue_ids_.empty()) continue;
    const WantedQueues queues = QueuesOf(row, true);
    if (queues && queues->empty()) continue;
    going = dry_run_ ? CountNamed(row) : AdministerNamed(row, &said);
  }
  if (going) DeleteWaiting(&said);
  SayInOrder(said);
  queue_ids_.clear();
  waiting_.clear();
  warnings_.clear();
  return going;
}

// Of ids that the queue does not know.
void Administration::DeleteWaiting(std::vector<std::string>* said) {
  if (letter_ != kActions[kDeleteRow].letter || maildrop_ == nullptr) return;
  for (size_t i = 0; i < queue_ids_.size(); ++i) {
    if (!(*said)[i].empty()) continue;
    const std::optional<uint64_t> bytes = maildrop_->Remove(queue_ids_[i], dry_run_);
    if (!bytes) continue;
    if (!dry_run_) (*said)[i] = Concat(queue_ids_[i], ": ", kActions[kDeleteRow].done, "\n");
    ++*counts_[kDeleteRow];
  }
}

void Administration::SayInOrder(const std::vector<std::string>& said) {
  auto warning = warnings_.begin();
  for (size_t i = 0; i <= said.size(); ++i) {
    for (; warning != warnings_.end() && warning->first == i; ++warning) {
      console_.Warn(warning->second);
    }
    if (i == said.size()) return;
    const std::string& lines = said[i];
    for (size_t start = 0, end; (end = lines.find('\n', start)) != lines.npos; start = end + 1) {
      console_.Say(std::string_view(lines).substr(start, end - start));
    }
  }
}

bool Administration::AdministerNamed(size_t row, std::vector<std::string>* said) {
  v1::AdministerRequest request;
  request.set_action(kActions[row].action);
  *request.mutable_queue_ids() = {queue_ids_.begin(), queue_ids_.end()};
  SetQueues(QueuesOf(row, true), &request);
  const absl::StatusOr<v1::AdministerResponse> response = client_.Administer(request);
  if (!response.ok()) return Fail(row, response.status());
  *counts_[row] += static_cast<uint64_t>(response->changed_size());
  // `changed` has the order of the request.
  size_t at = 0;
  for (int i = 0; i < response->changed_size(); ++i) {
    const std::string& queue_id = response->changed(i);
    while (at < queue_ids_.size() && queue_ids_[at] != queue_id) ++at;
    if (at == queue_ids_.size()) {
      return Fail(row, absl::InternalError(Concat("the queue changed ", Showable(queue_id),
                                                  ", which it was not asked for")));
    }
    ConcatTo(&(*said)[at], queue_id, ": ", kActions[row].done);
    if (verbose_ && i < response->new_queue_ids_size()) {
      ConcatTo(&(*said)[at], " as ", response->new_queue_ids(i));
    }
    (*said)[at].push_back('\n');
  }
  return response->failure().empty() || Fail(row, absl::UnknownError(response->failure()));
}

bool Administration::CountNamed(size_t row) {
  v1::ListRequest request;
  *request.mutable_queue_ids() = {queue_ids_.begin(), queue_ids_.end()};
  SetQueues(QueuesOf(row, true), &request);
  QueuePages pages(client_, std::move(request));
  while (true) {
    const absl::StatusOr<const v1::ListResponse*> page = pages.Next();
    if (!page.ok()) return Fail(row, page.status());
    if (*page == nullptr) return true;
    for (const v1::ListedMessage& message : (*page)->messages()) {
      if (WouldChange(kActions[row].action, message)) ++*counts_[row];
    }
  }
}

bool Administration::DoAll(size_t row) {
  if (row == kDeleteRow && maildrop_ != nullptr) {
    *counts_[row] += maildrop_->RemoveAll(dry_run_).messages;
  }
  const WantedQueues queues = QueuesOf(row, false);
  if (queues && queues->empty()) return true;
  v1::AdministerAllRequest request;
  request.set_action(kActions[row].action);
  request.set_dry_run(dry_run_);
  SetQueues(queues, &request);
  uint64_t changed = 0;
  uint64_t job_id = 0;
  InterruptNotice notice;
  const absl::Status status =
      client_.AdministerAll(request, [&](const v1::AdministerAllProgress& progress) {
        changed = dry_run_ ? progress.total() : progress.changed();
        freed_bytes_ += progress.freed_bytes();
        job_id = progress.done() ? 0 : progress.job_id();
        if (job_id != 0) notice.Set(Concat("\npostsuper: warning: ", GoesOn(job_id), "\n"));
        if (!dry_run_) progress_.Show(ProgressText(progress));
      });
  progress_.Clear();
  *counts_[row] += changed;
  if (absl::IsUnavailable(status) && job_id != 0) console_.Warn(GoesOn(job_id));
  return status.ok() || Fail(row, status);
}

}  // namespace postfleet::commands
