#include "services/queue/state/queue_under_test.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/escaping.h"
#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::queue {
namespace {

template <typename Value>
Value OrDie(absl::StatusOr<Value> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

}  // namespace

QueueUnderTest::QueueUnderTest(const StoreOptions& options)
    : env_(rocksdb::NewMemEnv(rocksdb::Env::Default())), options_(options) {
  if (options_.path.empty()) {
    options_.path = "/store";
    options_.env = env_.get();
  }
  OpenStore();
}

QueueUnderTest::~QueueUnderTest() = default;

void QueueUnderTest::OpenStore() {
  store_ = OrDie(Store::Open(options_));
  machine_ = OrDie(StateMachine::Load(store_.get()));
  reader_ = std::make_unique<Reader>(store_.get());
}

void QueueUnderTest::Crash() {
  reader_.reset();
  machine_.reset();
  store_.reset();
  OpenStore();
}

const Effects& QueueUnderTest::Replay(const LoggedCommand& command) {
  // In two pieces, as frames may be cut anywhere.
  const std::string_view payload = command.payload;
  const std::vector<std::string_view> pieces = {payload.substr(0, payload.size() / 3),
                                                payload.substr(payload.size() / 3)};
  return *OrDie(machine_->Apply(command.index, {command.header, pieces, nullptr}));
}

const Effects& QueueUnderTest::Apply(state::Command header, std::string payload) {
  header.set_now_ms(now_ms);
  // Effects point into the command: the log must not move it.
  if (log_.capacity() == 0) log_.reserve(1 << 20);
  log_.push_back({++last_index_, std::move(header), std::move(payload)});
  return Replay(log_.back());
}

size_t QueueUnderTest::MessageRows() const {
  size_t rows = 0;
  for (const auto& [key, value] : Dump()) {
    if (!key.starts_with("0/") && !key.starts_with("8/")) ++rows;
  }
  return rows;
}

v1::ListedMessage QueueUnderTest::Listed(const std::string& queue_id) const {
  v1::ListRequest request;
  request.add_queue_ids(queue_id);
  const v1::ListResponse page = OrDie(reader_->List(request, NotActive));
  return page.messages().empty() ? v1::ListedMessage() : page.messages(0);
}

uint64_t QueueUnderTest::incarnation() {
  if (incarnation_ == 0) {
    state::Command command;
    command.mutable_register_()->set_name("test");
    incarnation_ = Apply(std::move(command)).incarnation;
  }
  return incarnation_;
}

std::map<std::string, std::string> QueueUnderTest::Dump() const {
  std::map<std::string, std::string> rows;
  for (size_t i = 0; i < kFamilyCount; ++i) {
    std::unique_ptr<rocksdb::Iterator> iterator(
        store_->db()->NewIterator({}, store_->family(static_cast<Family>(i))));
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
      rows[Concat(i, '/', absl::BytesToHexString(iterator->key().ToString()))] =
          absl::BytesToHexString(iterator->value().ToString());
    }
  }
  return rows;
}

v1::Submission* AddMessage(QueueUnderTest& queue, const std::string& queue_id, int recipients,
                           const std::string& contents, state::Command* command,
                           std::string* payload) {
  v1::Submission* submission = command->add_submissions();
  submission->mutable_id()->set_incarnation(queue.incarnation());
  submission->mutable_id()->set_sequence(queue.NextSequence());
  submission->set_queue_id(queue_id);
  submission->set_payload_bytes(static_cast<uint32_t>(contents.size()));
  submission->set_payload_crc32c(Crc32c(contents));
  v1::NewMessage* message = submission->mutable_message();
  message->mutable_envelope()->set_sender("sender@example.org");
  message->mutable_envelope()->set_arrival_ms(queue.now_ms - 500);
  message->set_content_bytes(contents.size());
  for (int i = 0; i < recipients; ++i) {
    message->add_recipients()->set_address(Concat("r", i, "@example.com"));
  }
  payload->append(contents);
  return submission;
}

const Effects& Enqueue(QueueUnderTest& queue, const std::string& queue_id, int recipients,
                       const std::string& contents) {
  state::Command command;
  std::string payload;
  AddMessage(queue, queue_id, recipients, contents, &command, &payload);
  return queue.Apply(std::move(command), std::move(payload));
}

std::string PayloadText(const std::vector<std::string_view>& pieces) {
  std::string text;
  for (std::string_view piece : pieces) text.append(piece);
  return text;
}

uint64_t Open(QueueUnderTest& queue) {
  state::Command command;
  command.mutable_open()->set_partition(0);
  return queue.Apply(std::move(command)).open.epoch;
}

state::Command OutcomeCommand(QueueUnderTest& queue, const std::string& queue_id,
                              const std::vector<std::pair<uint32_t, Action>>& outcomes,
                              int64_t retry_at_ms) {
  state::Command command;
  command.mutable_outcomes()->set_epoch(queue.machine().epoch(0));
  v1::MessageOutcome* message = command.mutable_outcomes()->add_outcomes();
  message->set_queue_id(queue_id);
  message->set_retry_at_ms(retry_at_ms);
  message->set_transport("smtp");
  message->set_nexthop("example.com");
  for (const auto& [number, action] : outcomes) {
    mail::v1::Outcome* outcome = message->add_outcomes();
    outcome->set_recipient_number(number);
    outcome->set_action(action);
    outcome->set_status("4.4.1");
    outcome->set_text(Concat("attempt for ", number));
  }
  return command;
}

const Effects& Report(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<std::pair<uint32_t, Action>>& outcomes,
                      int64_t retry_at_ms) {
  return queue.Apply(OutcomeCommand(queue, queue_id, outcomes, retry_at_ms));
}

state::Command OweNotices(state::Command command) {
  for (v1::MessageOutcome& message : *command.mutable_outcomes()->mutable_outcomes()) {
    for (mail::v1::Outcome& outcome : *message.mutable_outcomes()) {
      if (outcome.action() != kSent) continue;
      outcome.set_notice_owed(true);
      outcome.set_success(mail::v1::Outcome::SUCCESS_RELAYED);
    }
  }
  return command;
}

const Effects& PutOff(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<uint32_t>& numbers, int64_t retry_at_ms) {
  state::Command command;
  command.mutable_outcomes()->set_epoch(queue.machine().epoch(0));
  v1::PutOff* put_off = command.mutable_outcomes()->add_put_offs();
  put_off->set_queue_id(queue_id);
  for (uint32_t number : numbers) put_off->add_recipient_numbers(number);
  put_off->set_retry_at_ms(retry_at_ms);
  put_off->set_transport("slow");
  put_off->set_nexthop("far.example");
  return queue.Apply(std::move(command));
}

namespace {

void FillNotice(std::string_view contents, const std::string& notice_id, v1::Submission* notice,
                std::string* payload) {
  notice->set_queue_id(notice_id);
  notice->set_payload_bytes(static_cast<uint32_t>(contents.size()));
  notice->set_payload_crc32c(Crc32c(contents));
  notice->mutable_message()->set_content_bytes(contents.size());
  notice->mutable_message()->mutable_envelope()->set_is_notice(true);
  notice->mutable_message()->add_recipients()->set_address("sender@example.org");
  payload->append(contents);
}

state::Command NotifyCommand(QueueUnderTest& queue, const std::string& queue_id,
                             const std::vector<uint32_t>& numbers, const std::string& notice_id,
                             std::string* payload) {
  state::Command command;
  command.mutable_outcomes()->set_epoch(queue.machine().epoch(0));
  v1::Notify* notify = command.mutable_outcomes()->add_notifies();
  notify->set_queue_id(queue_id);
  for (uint32_t number : numbers) notify->add_recipient_numbers(number);
  if (!notice_id.empty()) FillNotice(kNotice, notice_id, notify->mutable_notice(), payload);
  return command;
}

}  // namespace

const Effects& Notify(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<uint32_t>& numbers, const std::string& notice_id,
                      const std::string& copy_id) {
  std::string payload;
  state::Command command = NotifyCommand(queue, queue_id, numbers, notice_id, &payload);
  v1::Notify* notify = command.mutable_outcomes()->mutable_notifies(0);
  if (!copy_id.empty()) FillNotice(kCopy, copy_id, notify->mutable_copy(), &payload);
  return queue.Apply(std::move(command), std::move(payload));
}

const Effects& WarnOfDelay(QueueUnderTest& queue, const std::string& queue_id,
                           const std::string& notice_id) {
  std::string payload;
  state::Command command = NotifyCommand(queue, queue_id, {}, notice_id, &payload);
  command.mutable_outcomes()->mutable_notifies(0)->set_delay_warning(true);
  return queue.Apply(std::move(command), std::move(payload));
}

const Effects& Administer(QueueUnderTest& queue, v1::Action action,
                          const std::vector<std::string>& queue_ids,
                          const std::vector<v1::QueueName>& queues) {
  state::Command command;
  command.mutable_administer()->set_action(action);
  for (const std::string& id : queue_ids) command.mutable_administer()->add_queue_ids(id);
  for (v1::QueueName name : queues) command.mutable_administer()->add_queues(name);
  return queue.Apply(std::move(command));
}

const Effects& Delete(QueueUnderTest& queue, const std::vector<std::string>& queue_ids) {
  return Administer(queue, v1::ACTION_DELETE, queue_ids);
}

const Effects& MarkCorrupt(QueueUnderTest& queue, const std::string& queue_id,
                           const std::string& reason) {
  state::Command command;
  command.mutable_mark_corrupt()->set_queue_id(queue_id);
  command.mutable_mark_corrupt()->set_reason(reason);
  return queue.Apply(std::move(command));
}

const Effects& StartBulk(QueueUnderTest& queue, v1::Action action,
                         const std::vector<v1::QueueName>& queues,
                         const std::string& last_queue_id) {
  state::Command command;
  command.mutable_start_bulk()->set_action(action);
  for (v1::QueueName name : queues) command.mutable_start_bulk()->add_queues(name);
  command.mutable_start_bulk()->set_last_queue_id(last_queue_id);
  return queue.Apply(std::move(command));
}

const Effects& StepBulk(QueueUnderTest& queue, size_t ids_max) {
  const state::Bulk bulk = queue.machine().bulks().at(0);
  BulkQuery query;
  for (int name : bulk.queues()) query.queues.push_back(static_cast<v1::QueueName>(name));
  query.after = bulk.cursor();
  query.last = bulk.last_queue_id();
  query.ids_max = ids_max;
  const IdPage page = OrDie(queue.reader().ScanQueues(query));
  state::Command command;
  state::Administer& administer = *command.mutable_administer();
  administer.set_action(bulk.action());
  *administer.mutable_queues() = bulk.queues();
  for (const std::string& id : page.queue_ids) administer.add_queue_ids(id);
  administer.mutable_bulk()->set_id(bulk.id());
  administer.mutable_bulk()->set_cursor(page.cursor);
  administer.mutable_bulk()->set_done(page.end);
  return queue.Apply(std::move(command));
}

const Effects& Purge(QueueUnderTest& queue) {
  state::Command command;
  command.mutable_purge();
  return queue.Apply(std::move(command));
}

const Effects& Flush(QueueUnderTest& queue, const std::vector<std::string>& queue_ids) {
  state::Command command;
  command.mutable_flush();
  for (const std::string& id : queue_ids) command.mutable_flush()->add_queue_ids(id);
  return queue.Apply(std::move(command));
}

}  // namespace postfleet::queue
