// Random commands against a plain model, crashes, and the same log twice.
//
// POSTFLEET_TEST_SEED=n runs one seed. A sequence is what lies between two purges, from an empty
// queue.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/message_queue.h"
#include "services/queue/state/queue_model.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAreArray;

constexpr int kSequences = 250;
constexpr int kStepsOfSequence = 20;
constexpr int kStepsOfReplay = 1'200;

const std::vector<v1::QueueName> kDurable = {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED,
                                             v1::QUEUE_NAME_HOLD, v1::QUEUE_NAME_CORRUPT};
constexpr std::array kDomains = {"example.com", "Example.ORG", "[192.0.2.1]", ""};

// Some messages are in delivery: volatile, so any rule will do.
bool IsActive(std::string_view queue_id) { return queue_id.back() % 3 == 0; }

v1::QueueName Shown(const std::string& queue_id, const QueueModel::Message& message) {
  return !message.Parked() && IsActive(queue_id) ? v1::QUEUE_NAME_ACTIVE : message.Queue();
}

class Play {
 public:
  explicit Play(unsigned seed) : random_(seed) { Open(queue); }

  void Step() {
    queue.now_ms += Pick(2'000);
    const std::pair<size_t, void (Play::*)()> steps[] = {
        {5, &Play::EnqueueSome}, {8, &Play::ReportSome},     {2, &Play::NotifySome},
        {1, &Play::WarnSome},    {8, &Play::AdministerSome}, {2, &Play::MarkSome},
        {2, &Play::FlushSome},   {1, &Play::RetrySome},      {2, &Play::UploadSome},
        {2, &Play::BulkSome},    {1, &Play::EnqueueTaken},   {1, &Play::OpenAgain},
        {1, &Play::ReportLate},  {1, &Play::AbandonSome},    {3, &Play::PutOffSome},
    };
    size_t weight = 0;
    for (const auto& [share, step] : steps) weight += share;
    size_t pick = Pick(weight);
    for (const auto& [share, step] : steps) {
      if (pick < share) return (this->*step)();
      pick -= share;
    }
  }

  void PurgeAll() {
    const Effects& effects = Purge(queue);
    EXPECT_TRUE(effects.purged);
    EXPECT_EQ(effects.purged_messages, model.messages.size());
    model.messages.clear();
  }

  size_t Pick(size_t below) { return random_() % below; }

  QueueUnderTest queue;
  QueueModel model;

 private:
  // As ingress makes them, so that those of requeues lie among them.
  const std::string& NewId() {
    const uint64_t count = ids_.size() + 1;
    ids_.push_back(FormatQueueId(queue.now_ms / 1'000,
                                 static_cast<int32_t>(queue.now_ms % 1'000) * 1'000 + 7,
                                 count << 32 | 1 << 8));
    return ids_.back();
  }
  // Any ever given, or none.
  std::string OldId() {
    const size_t pick = Pick(ids_.size() + 1);
    return pick == ids_.size() ? "none" : ids_[pick];
  }
  // Mostly one that is there.
  std::string AnyId() {
    if (model.messages.empty() || Pick(6) == 0) return OldId();
    return std::next(model.messages.begin(), static_cast<long>(Pick(model.messages.size())))->first;
  }
  std::vector<std::string> AnyIds() {
    std::vector<std::string> ids(1 + Pick(4));
    for (std::string& id : ids) id = AnyId();
    if (Pick(2) == 0) std::sort(ids.begin(), ids.end());
    return ids;
  }
  std::vector<v1::QueueName> AnyQueues() {
    std::vector<v1::QueueName> queues;
    for (v1::QueueName name : kDurable) {
      if (Pick(3) == 0) queues.push_back(name);
    }
    return queues;
  }
  v1::Action AnyAction() { return static_cast<v1::Action>(1 + Pick(7)); }

  // A submission with its message in the model.
  void Compose(const std::string& queue_id, std::vector<std::string> chunks,
               state::Command* command, std::string* payload) {
    const size_t recipients = 1 + Pick(4);
    v1::Submission* submission =
        AddMessage(queue, queue_id, static_cast<int>(recipients), chunks.back(), command, payload);
    QueueModel::Message message;
    for (auto& recipient : *submission->mutable_message()->mutable_recipients()) {
      const std::string domain = kDomains[Pick(kDomains.size())];
      const std::string local = Concat("r", message.recipients.size());
      recipient.set_address(domain.empty() ? local : Concat(local, '@', domain));
      message.recipients.push_back({recipient.address()});
    }
    message.chunks = std::move(chunks);
    submission->set_chunk(static_cast<uint32_t>(message.chunks.size()) - 1);
    submission->mutable_message()->set_content_bytes(message.Bytes());
    message.arrival_ms = submission->message().envelope().arrival_ms();
    model.messages[queue_id] = std::move(message);
  }

  std::string Contents() {
    return std::string(Pick(20) == 0 ? 40'000 : Pick(2'000), static_cast<char>('a' + Pick(26)));
  }

  void EnqueueSome() {
    state::Command command;
    std::string payload;
    for (size_t messages = 1 + Pick(3); messages > 0; --messages) {
      Compose(NewId(), {Contents()}, &command, &payload);
    }
    last_ = command;
    last_payload_ = payload;
    for (const auto& result : queue.Apply(std::move(command), std::move(payload)).submissions) {
      EXPECT_EQ(result.code, v1::EnqueueResult::COMMITTED) << result.text;
    }
  }

  void RetrySome() {
    if (last_.submissions().empty()) return;
    for (const auto& result : queue.Apply(last_, last_payload_).submissions) {
      EXPECT_EQ(result.code, v1::EnqueueResult::COMMITTED);
      EXPECT_TRUE(result.duplicate);
    }
  }

  // An id that is in use, or whose chunks a requeued message has.
  void EnqueueTaken() {
    if (model.messages.empty()) return;
    const std::string id = AnyId();
    const auto found = model.messages.find(id);
    if (found == model.messages.end()) return;
    const Effects& effects =
        Enqueue(queue, found->second.body_id.empty() ? id : found->second.body_id);
    EXPECT_EQ(effects.submissions[0].code, v1::EnqueueResult::REFUSED);
  }

  void UploadSome() {
    const bool begins = model.uploads.empty() || Pick(3) == 0;
    const auto upload =
        begins ? model.uploads.emplace(NewId(), std::vector<std::string>()).first
               : std::next(model.uploads.begin(), static_cast<long>(Pick(model.uploads.size())));
    state::Command command;
    std::string payload;
    std::vector<std::string> chunks = upload->second;
    chunks.push_back(Contents());
    if (!upload->second.empty() && Pick(3) == 0) {
      Compose(upload->first, chunks, &command, &payload);
      model.uploads.erase(upload);
    } else {
      v1::Submission* submission =
          AddMessage(queue, upload->first, 1, chunks.back(), &command, &payload);
      submission->clear_message();
      submission->set_chunk(static_cast<uint32_t>(upload->second.size()));
      upload->second = chunks;
    }
    const Effects& effects = queue.Apply(std::move(command), std::move(payload));
    EXPECT_EQ(effects.submissions[0].code, v1::EnqueueResult::COMMITTED)
        << effects.submissions[0].text;
  }

  // Two outcomes in one command, often for the same message.
  void ReportSome() {
    state::Command command;
    for (int i = 0; i < 2; ++i) {
      const std::string queue_id = AnyId();
      std::vector<std::pair<uint32_t, Action>> outcomes;
      for (uint32_t number = 0; number < 5; ++number) {
        if (Pick(2) == 0) continue;
        outcomes.push_back({number, std::array{kSent, kDeferred, kDeferred, kBounced}[Pick(4)]});
      }
      const int64_t retry_at_ms = queue.now_ms + static_cast<int64_t>(Pick(10'000));
      state::Command one = OutcomeCommand(queue, queue_id, outcomes, retry_at_ms);
      if (Pick(3) == 0) one = OweNotices(std::move(one));
      command.mutable_outcomes()->MergeFrom(one.outcomes());
      model.Report(one.outcomes().outcomes(0));
    }
    queue.Apply(std::move(command));
  }

  // Sometimes again what is put off already, or not there.
  void PutOffSome() {
    const std::string queue_id = AnyId();
    std::vector<uint32_t> numbers(Pick(4));
    for (uint32_t& number : numbers) number = static_cast<uint32_t>(Pick(5));
    const int64_t retry_at_ms = queue.now_ms + static_cast<int64_t>(Pick(10'000));
    const bool there = model.messages.contains(queue_id);
    const Effects& effects = PutOff(queue, queue_id, numbers, retry_at_ms);
    ASSERT_EQ(effects.put_offs.size(), 1u);
    EXPECT_EQ(effects.put_offs[0].late, !there);
    model.PutOff(queue_id, numbers, retry_at_ms);
  }

  void EnterNotice(const std::string& notice_id, std::string_view contents) {
    model.messages[notice_id] = {{{"sender@example.org"}}, {std::string(contents)}, 0};
  }

  // With a copy, without, and with one whose id is in use.
  void NotifySome() {
    const std::string queue_id = AnyId();
    const std::string notice_id = NewId();
    std::string copy_id = Pick(2) == 0 ? "" : NewId();
    const bool refused = Pick(8) == 0 && model.messages.contains(queue_id);
    if (refused) copy_id = queue_id;
    const Effects& effects = Notify(queue, queue_id, {0, 2}, notice_id, copy_id);
    EXPECT_EQ(effects.notifies.at(0).refused.empty(), !refused);
    const bool entered = !refused && model.Notify(queue_id, {0, 2});
    EXPECT_EQ(effects.new_messages.size(), !entered ? 0u : copy_id.empty() ? 1u : 2u);
    if (!entered) return;
    EnterNotice(notice_id, kNotice);
    if (!copy_id.empty()) EnterNotice(copy_id, kCopy);
  }

  void WarnSome() {
    const std::string queue_id = AnyId();
    const std::string notice_id = NewId();
    const Effects& effects = WarnOfDelay(queue, queue_id, notice_id);
    const bool entered = model.WarnOfDelay(queue_id);
    EXPECT_EQ(effects.new_messages.size(), entered ? 1u : 0u);
    if (entered) EnterNotice(notice_id, kNotice);
  }

  void AdministerSome() {
    const v1::Action action = AnyAction();
    const std::vector<std::string> ids = AnyIds();
    const std::vector<v1::QueueName> queues = AnyQueues();
    const Effects& effects = Administer(queue, action, ids, queues);
    Check(action, model.Administer(action, ids, queues, queue.now_ms), effects);
  }

  void Check(v1::Action action, const std::vector<std::string>& changed, const Effects& effects) {
    EXPECT_EQ(effects.action, action);
    EXPECT_THAT(effects.changed, ElementsAreArray(changed));
    const bool leave = action == v1::ACTION_DELETE || action == v1::ACTION_REQUEUE;
    const std::vector<std::string> none;
    EXPECT_THAT(effects.deleted, ElementsAreArray(leave ? changed : none));
    EXPECT_THAT(effects.parked, ElementsAreArray(action == v1::ACTION_HOLD ? changed : none));
    EXPECT_THAT(effects.flushed, ElementsAreArray(action == v1::ACTION_FLUSH ? changed : none));
    const size_t renamed = action == v1::ACTION_REQUEUE ? changed.size() : 0;
    EXPECT_EQ(effects.new_queue_ids.size(), renamed);
    if (renamed > 0) model.Rename(changed, effects.new_queue_ids);
  }

  void MarkSome() {
    const std::string queue_id = AnyId();
    const auto found = model.messages.find(queue_id);
    const bool marked = found != model.messages.end() && found->second.corrupt.empty();
    const std::string reason = Concat("reason ", Pick(100));
    EXPECT_EQ(MarkCorrupt(queue, queue_id, reason).parked.size(), marked ? 1u : 0u);
    model.MarkCorrupt(queue_id, reason);
  }

  void FlushSome() {
    if (Pick(2) == 0) {
      Flush(queue, {});
      return;
    }
    const std::vector<std::string> ids = AnyIds();
    Flush(queue, ids);
    for (const std::string& id : ids) model.Flush(id, queue.now_ms);
  }

  void BulkSome() {
    if (queue.machine().bulks().empty() || Pick(4) == 0) return StartSome();
    const state::Bulk bulk = queue.machine().bulks().Get(0);
    const size_t ids_max = 1 + Pick(5);
    std::vector<v1::QueueName> queues;
    for (int name : bulk.queues()) queues.push_back(static_cast<v1::QueueName>(name));
    std::vector<std::string> ids;
    for (const auto& [id, message] : model.messages) {
      if (id <= bulk.cursor() || id > bulk.last_queue_id()) continue;
      if (!queues.empty() &&
          std::find(queues.begin(), queues.end(), message.Queue()) == queues.end())
        continue;
      if (ids.size() < ids_max) ids.push_back(id);
    }
    const Effects& effects = StepBulk(queue, ids_max);
    EXPECT_EQ(effects.refused, "");
    std::vector<std::string> in_time = ids;
    std::erase_if(in_time, [&](const std::string& id) {
      return !bulk.asked_last_queue_id().empty() && id > bulk.asked_last_queue_id() &&
             model.messages.at(id).arrival_ms > bulk.asked_ms();
    });
    const auto changed = model.Administer(bulk.action(), in_time, queues, queue.now_ms);
    Check(bulk.action(), changed, effects);
    if (effects.bulk_ended != 0) {
      EXPECT_EQ(effects.bulk_ended, bulk.id());
    } else {
      EXPECT_EQ(queue.machine().bulks().Get(0).changed(), bulk.changed() + changed.size());
      EXPECT_GE(queue.machine().bulks().Get(0).cursor(), ids.empty() ? bulk.cursor() : ids.back());
    }
  }

  void StartSome() {
    const std::vector<v1::QueueName> queues = AnyQueues();
    const int before = queue.machine().bulks().size();
    const Effects& effects = StartBulk(queue, AnyAction(), queues, OldId());
    EXPECT_EQ(effects.bulk_started != 0, before < kBulksMax);
    if (effects.bulk_started == 0) return;
    EXPECT_EQ(queue.machine().bulks().Get(before).total(), model.CountIn(queues));
  }

  void OpenAgain() { Open(queue); }

  // Of a holder that was fenced.
  void ReportLate() {
    state::Command command = OutcomeCommand(queue, AnyId(), {{0, kSent}});
    command.mutable_outcomes()->set_epoch(command.outcomes().epoch() - 1);
    EXPECT_TRUE(queue.Apply(std::move(command)).fenced);
  }

  void AbandonSome() {
    state::Command command;
    command.mutable_abandon_uploads()->set_idle_since_ms(queue.now_ms + 1);
    EXPECT_EQ(queue.Apply(std::move(command)).uploads_abandoned, model.uploads.size());
    model.uploads.clear();
  }

  std::mt19937 random_;
  std::deque<std::string> ids_;
  state::Command last_;
  std::string last_payload_;
};

// ---- What must be equal after each step

void CompareCounts(Play& play) {
  uint64_t bytes = 0;
  std::map<v1::QueueName, uint64_t> bytes_in;
  uint64_t borrowed = 0;
  for (const auto& [queue_id, message] : play.model.messages) {
    bytes += message.Bytes();
    bytes_in[message.Queue()] += message.Bytes();
    borrowed += message.body_id.empty() ? 0 : 1;
  }
  const state::Counts& counts = play.queue.machine().counts();
  EXPECT_EQ(counts.incoming_messages(), play.model.CountIn({v1::QUEUE_NAME_INCOMING}));
  EXPECT_EQ(counts.deferred_messages(), play.model.CountIn({v1::QUEUE_NAME_DEFERRED}));
  EXPECT_EQ(counts.hold_messages(), play.model.CountIn({v1::QUEUE_NAME_HOLD}));
  EXPECT_EQ(counts.corrupt_messages(), play.model.CountIn({v1::QUEUE_NAME_CORRUPT}));
  EXPECT_EQ(counts.bytes(), bytes);
  EXPECT_EQ(counts.deferred_bytes(), bytes_in[v1::QUEUE_NAME_DEFERRED]);
  EXPECT_EQ(counts.hold_bytes(), bytes_in[v1::QUEUE_NAME_HOLD]);
  EXPECT_EQ(counts.corrupt_bytes(), bytes_in[v1::QUEUE_NAME_CORRUPT]);
  EXPECT_EQ(counts.borrowed_bodies(), borrowed);
  EXPECT_EQ(counts.uploads(), play.model.uploads.size());
  EXPECT_EQ(counts.late_outcomes(), play.model.late);
}

// A message of a listing in a line.
std::string LineOf(const v1::ListedMessage& message) {
  std::string line = Concat(message.queue_id(), ' ', v1::QueueName_Name(message.queue()), ' ',
                            message.arrival_ms(), ' ', message.message_bytes(), ' ',
                            message.forced_expire() ? "forced " : "", message.corrupt_reason());
  for (const auto& recipient : message.recipients()) {
    ConcatTo(&line, ' ', recipient.address(), '(', recipient.reason(), ')');
  }
  return line;
}

std::string LineOf(const std::string& queue_id, const QueueModel::Message& message) {
  v1::ListedMessage listed;
  listed.set_queue_id(queue_id);
  listed.set_queue(Shown(queue_id, message));
  listed.set_arrival_ms(message.arrival_ms);
  listed.set_message_bytes(message.Bytes());
  listed.set_forced_expire(message.forced);
  listed.set_corrupt_reason(message.corrupt);
  for (const QueueModel::Recipient& recipient : message.recipients) {
    if (recipient.state != QueueModel::kPending && recipient.state != QueueModel::kWaiting)
      continue;
    v1::ListedRecipient* added = listed.add_recipients();
    added->set_address(recipient.address);
    added->set_reason(recipient.reason);
  }
  return LineOf(listed);
}

void CompareListing(Play& play, const std::vector<v1::QueueName>& queues) {
  std::vector<std::string> expected;
  for (const auto& [queue_id, message] : play.model.messages) {
    const v1::QueueName shown = Shown(queue_id, message);
    if (!queues.empty() && std::find(queues.begin(), queues.end(), shown) == queues.end()) continue;
    expected.push_back(LineOf(queue_id, message));
  }
  std::vector<std::string> listed;
  v1::ListRequest request;
  request.set_limit(7);
  for (v1::QueueName queue : queues) request.add_queues(queue);
  for (bool more = true; more;) {
    const auto page = play.queue.reader().List(request, IsActive);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::ListedMessage& message : page->messages()) listed.push_back(LineOf(message));
    request.set_after_queue_id(page->next_queue_id());
    more = page->more();
  }
  EXPECT_EQ(listed, expected);
}

// Rows of one family, by the keys.
std::set<std::string> KeysOf(Play& play, Family family) {
  std::set<std::string> keys;
  std::unique_ptr<rocksdb::Iterator> rows(
      play.queue.store().db()->NewIterator({}, play.queue.store().family(family)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) keys.insert(rows->key().ToString());
  return keys;
}

// Every row that there is, but intake and job rows, whose keys the model does not know.
void CompareRows(Play& play) {
  std::set<std::string> messages, recipients, bodies, queues, sites, uploads;
  for (const auto& [id, message] : play.model.messages) {
    messages.insert(id);
    if (IsIndexed(message.Queue())) queues.insert(QueueKey(message.Queue(), id));
    for (uint32_t number = 0; number < message.recipients.size(); ++number) {
      const QueueModel::Recipient& recipient = message.recipients[number];
      if (recipient.state == QueueModel::kGone) continue;
      recipients.insert(NumberedKey(id, number));
      if (recipient.state == QueueModel::kWaiting) {
        sites.insert(SiteKey(SiteOf(recipient.address), id, number));
      }
    }
    for (uint32_t chunk = 0; chunk < message.chunks.size(); ++chunk) {
      bodies.insert(NumberedKey(message.body_id.empty() ? id : message.body_id, chunk));
      EXPECT_EQ(play.queue.reader().ReadChunk(id, chunk)->bytes, message.chunks[chunk]);
    }
  }
  for (const auto& [id, chunks] : play.model.uploads) {
    uploads.insert(id);
    for (uint32_t chunk = 0; chunk < chunks.size(); ++chunk) bodies.insert(NumberedKey(id, chunk));
  }
  EXPECT_EQ(KeysOf(play, Family::kMessage), messages);
  EXPECT_EQ(KeysOf(play, Family::kRecipient), recipients);
  EXPECT_EQ(KeysOf(play, Family::kBody), bodies);
  EXPECT_EQ(KeysOf(play, Family::kQueue), queues);
  EXPECT_EQ(KeysOf(play, Family::kSite), sites);
  EXPECT_EQ(KeysOf(play, Family::kUpload), uploads);
}

// With all jobs due, everything is open that no notice is owed about.
void CompareOpen(Play& play, const std::string& queue_id, const QueueModel::Message& message) {
  const auto row = play.queue.reader().ReadMessage(queue_id);
  ASSERT_TRUE(row.ok() && row->has_value()) << queue_id;
  EXPECT_EQ((*row)->delay_warned(), message.warned);
  OpenRecipientsQuery query;
  query.queue_id = queue_id;
  query.now_ms = play.queue.now_ms + 100'000;
  const auto open = play.queue.reader().ReadOpenRecipients(**row, query);
  ASSERT_TRUE(open.ok()) << open.status();
  std::map<uint32_t, QueueModel::State> found;
  for (const auto& recipient : open->open) {
    found[recipient.recipient().number()] = recipient.state();
  }
  for (const auto& recipient : open->bounced) {
    const uint32_t number = recipient.recipient().number();
    found[number] = QueueModel::kOwed;
    EXPECT_EQ(recipient.last().notice_owed(), message.recipients[number].sent) << queue_id;
  }
  EXPECT_EQ(open->open.size() + open->bounced.size(), found.size());
  for (uint32_t number = 0; number < message.recipients.size(); ++number) {
    EXPECT_EQ(found.contains(number) ? found[number] : QueueModel::kGone,
              message.Parked() ? QueueModel::kGone : message.recipients[number].state)
        << queue_id << " recipient " << number;
  }
}

void CompareWork(Play& play) {
  std::multiset<std::string> intake;
  const auto intake_rows = play.queue.reader().ScanIntake({}, 10'000);
  for (const IntakeEntry& entry : *intake_rows) intake.insert(entry.queue_id);
  std::set<std::pair<int64_t, std::string>> due;
  const auto due_rows = play.queue.reader().ScanDue({}, 10'000);
  for (const DueEntry& entry : *due_rows) due.insert({entry.key.due_ms, entry.key.queue_id});
  std::multiset<std::string> expected_intake;
  std::set<std::pair<int64_t, std::string>> expected_due;
  size_t waiting = 0;
  for (const auto& [queue_id, message] : play.model.messages) {
    CompareOpen(play, queue_id, message);
    waiting += message.Count(QueueModel::kWaiting);
    if (message.Parked()) continue;
    if (message.Count(QueueModel::kPending) + message.Count(QueueModel::kOwed) > 0) {
      expected_intake.insert(queue_id);
    }
    for (const QueueModel::Recipient& recipient : message.recipients) {
      if (recipient.state == QueueModel::kWaiting)
        expected_due.insert({recipient.due_ms, queue_id});
    }
  }
  EXPECT_EQ(intake, expected_intake);
  EXPECT_EQ(due, expected_due);
  size_t in_jobs = 0;
  std::unique_ptr<rocksdb::Iterator> jobs(
      play.queue.store().db()->NewIterator({}, play.queue.store().family(Family::kJob)));
  for (jobs->SeekToFirst(); jobs->Valid(); jobs->Next()) {
    state::JobRow row;
    ASSERT_TRUE(row.ParseFromString(jobs->value().ToString()));
    EXPECT_GT(row.recipient_numbers_size(), 0);
    in_jobs += static_cast<size_t>(row.recipient_numbers_size());
  }
  EXPECT_EQ(in_jobs, waiting);
}

using Shape = std::map<std::string, std::vector<uint64_t>>;

Shape ShapeOf(const v1::ShapeResponse& response) {
  Shape shape;
  shape["TOTAL"] = {response.total().counts().begin(), response.total().counts().end()};
  for (const v1::ShapeRow& row : response.domains()) {
    shape[row.domain()] = {row.counts().begin(), row.counts().end()};
  }
  return shape;
}

void CompareShape(Play& play, const std::vector<v1::QueueName>& queues, bool senders) {
  v1::ShapeRequest request;
  request.set_senders(senders);
  for (v1::QueueName queue : queues) request.add_queues(queue);
  for (int64_t age_ms : {1'000, 5'000, 20'000}) request.add_age_ms(age_ms);
  Shape expected;
  expected["TOTAL"] = std::vector<uint64_t>(4);
  for (const auto& [id, message] : play.model.messages) {
    if (std::find(queues.begin(), queues.end(), Shown(id, message)) == queues.end()) continue;
    const int64_t age_ms = play.queue.now_ms - message.arrival_ms;
    const size_t bucket = age_ms <= 1'000 ? 0 : age_ms <= 5'000 ? 1 : age_ms <= 20'000 ? 2 : 3;
    std::vector<std::string> domains;
    for (const QueueModel::Recipient& recipient : message.recipients) {
      if (recipient.state == QueueModel::kPending || recipient.state == QueueModel::kWaiting) {
        domains.push_back(SiteOf(recipient.address));
      }
    }
    // Notices have the null sender.
    if (senders) domains = {message.arrival_ms == 0 ? "" : "example.org"};
    for (const std::string& domain : domains) {
      expected[domain].resize(4);
      ++expected[domain][bucket];
      ++expected["TOTAL"][bucket];
    }
  }
  const auto response = play.queue.reader().Shape(request, play.queue.now_ms, IsActive);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(ShapeOf(*response), expected);
}

void CompareScans(Play& play) {
  std::map<v1::QueueName, std::string> first;
  std::set<std::string> of_site;
  for (const auto& [id, message] : play.model.messages) {
    first.emplace(message.Queue(), id);
    for (const QueueModel::Recipient& recipient : message.recipients) {
      if (recipient.state == QueueModel::kWaiting && SiteOf(recipient.address) == "example.org") {
        of_site.insert(id);
      }
    }
  }
  std::set<std::string> scanned;
  std::string after;
  for (bool end = false; !end;) {
    const auto page = play.queue.reader().ScanSite("EXAMPLE.org", after, 2);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const std::string& id : page->queue_ids) EXPECT_TRUE(scanned.insert(id).second);
    after = page->cursor;
    end = page->end;
  }
  EXPECT_EQ(scanned, of_site);
  const auto oldest = play.queue.reader().ReadOldest();
  ASSERT_TRUE(oldest.ok()) << oldest.status();
  for (const auto& [queue, arrival_ms] : {std::pair(v1::QUEUE_NAME_DEFERRED, oldest->deferred_ms),
                                          std::pair(v1::QUEUE_NAME_HOLD, oldest->hold_ms),
                                          std::pair(v1::QUEUE_NAME_CORRUPT, oldest->corrupt_ms)}) {
    EXPECT_EQ(arrival_ms,
              first.contains(queue) ? play.model.messages.at(first[queue]).arrival_ms : 0);
  }
}

void Compare(Play& play) {
  CompareCounts(play);
  CompareListing(play, {});
  CompareListing(play, {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_ACTIVE});
  CompareListing(play, {v1::QUEUE_NAME_DEFERRED});
  CompareListing(play, {v1::QUEUE_NAME_DEFERRED, v1::QUEUE_NAME_HOLD, v1::QUEUE_NAME_CORRUPT});
  CompareRows(play);
  CompareWork(play);
  CompareShape(play, {v1::QUEUE_NAME_DEFERRED}, false);
  CompareShape(play, {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_ACTIVE}, false);
  CompareShape(play, {v1::QUEUE_NAME_HOLD, v1::QUEUE_NAME_DEFERRED}, true);
  CompareScans(play);
}

unsigned SeedOfDay() {
  const char* seed = std::getenv("POSTFLEET_TEST_SEED");
  return seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : std::random_device()();
}

class RandomCommands : public ::testing::TestWithParam<unsigned> {
 protected:
  RandomCommands() { std::printf("POSTFLEET_TEST_SEED=%u\n", seed_); }

  // 0: a new seed each time.
  const unsigned seed_ = GetParam() != 0 ? GetParam() : SeedOfDay();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, Concat("POSTFLEET_TEST_SEED=", seed_)};
};

TEST_P(RandomCommands, LeaveWhatTheModelSays) {
  Play play(seed_);
  for (int sequence = 0; sequence < kSequences && !HasFailure(); ++sequence) {
    for (int step = 0; step < kStepsOfSequence && !HasFailure(); ++step) {
      SCOPED_TRACE(Concat("sequence ", sequence, " step ", step, " index ",
                          play.queue.machine().applied_index() + 1));
      play.Step();
      Compare(play);
    }
    if (play.Pick(10) == 0) {
      ASSERT_TRUE(play.queue.store().Flush().ok());
    }
    play.PurgeAll();
  }
}

TEST_P(RandomCommands, AreTheSameAfterACrashAndReplay) {
  Play play(seed_);
  int crashes = 0;
  for (int step = 0; step < kStepsOfReplay && !HasFailure(); ++step) {
    play.Step();
    if (play.Pick(200) == 0) play.PurgeAll();
    if (play.Pick(30) == 0) {
      ASSERT_TRUE(play.queue.store().Flush().ok());
    }
    if (play.Pick(40) != 0) continue;
    ++crashes;
    const auto before = play.queue.Dump();
    play.queue.Crash();
    const uint64_t applied = play.queue.machine().applied_index();
    for (const LoggedCommand& command : play.queue.log()) {
      if (command.index > applied) play.queue.Replay(command);
    }
    ASSERT_EQ(play.queue.Dump(), before) << "step " << step;
  }
  EXPECT_GT(crashes, 0);
}

TEST_P(RandomCommands, GiveEqualBytesFromTheSameLog) {
  Play play(seed_);
  for (int step = 0; step < kStepsOfReplay; ++step) {
    play.Step();
    if (play.Pick(200) == 0) play.PurgeAll();
  }
  QueueUnderTest twin;
  for (const LoggedCommand& command : play.queue.log()) {
    twin.Replay(command);
    // Flushes differ between replicas and must not show.
    if (command.index % 97 == 0) {
      ASSERT_TRUE(twin.store().Flush().ok());
    }
  }
  EXPECT_EQ(twin.Dump(), play.queue.Dump());
}

// Sixteen times 250 sequences.
INSTANTIATE_TEST_SUITE_P(Seeds, RandomCommands,
                         ::testing::Values(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u, 11u, 12u, 0u,
                                           0u, 0u, 0u));

}  // namespace
}  // namespace postfleet::queue
