#include "services/delivery/queue_forwarder.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/message/received.h"

namespace postfleet::delivery {
namespace {

using queue::v1::EnqueueResult;

constexpr std::chrono::milliseconds kResendMax{30'000};
constexpr std::chrono::milliseconds kSweepEvery{1'000};
// The queue may be without end: bounds are those of the jobs.
constexpr size_t kBudgetBytes = 64u << 20;

}  // namespace

// One mail. It is on one of the two loops at a time: who is done with it posts it to the other.
struct QueueForwarder::Job : submission::Requester, std::enable_shared_from_this<Job> {
  explicit Job(QueueForwarder& owner) : forwarder(owner) {}

  void OnFlushed(bool) override {}
  // On the connection's loop.
  void OnEnqueued(const std::string&, bool final, EnqueueResult::Code code) override {
    forwarder.agents_.Post(
        [self = shared_from_this(), final, code, alive = std::weak_ptr(forwarder.alive_)] {
          if (!alive.expired()) self->OnAnswer(final, code);
        });
  }

  void OnAnswer(bool final, EnqueueResult::Code code) {
    if (code != EnqueueResult::COMMITTED) {
      return forwarder.Fail(shared_from_this(),
                            absl::UnavailableError("the queue does not take it now"));
    }
    if (!final) return forwarder.Read(shared_from_this());
    forwarder.Answer(shared_from_this(), absl::OkStatus());
  }

  QueueForwarder& forwarder;
  ForwardedMail mail;
  Done done;
  std::chrono::steady_clock::time_point since;
  std::string queue_id;
  std::string text;  // not yet sent
  uint32_t chunks = 0;
  uint64_t bytes = 0;
  uint64_t lines = 0;
  bool over = false;  // the contents have been read
};

QueueForwarder::QueueForwarder(runtime::EventLoop& agents, ForwarderOptions options)
    : agents_(agents),
      options_(std::move(options)),
      budget_(kBudgetBytes),
      enqueue_(loop_,
               {.name = options_.name,
                .channel = options_.queue,
                .clock = options_.clock,
                .resend_max = kResendMax,
                .on_change = [this] { Connected(); }},
               budget_),
      sweep_(loop_) {
  loop_.Start();
  loop_.RunAndWait([this] {
    enqueue_.Start();
    Sweep();
  });
}

QueueForwarder::~QueueForwarder() {
  enqueue_.Stop();
  loop_.RunAndWait([this] {
    sweep_.Cancel();
    waiting_.clear();
  });
  loop_.Stop();
}

void QueueForwarder::Submit(ForwardedMail mail, Done done) {
  auto job = std::make_shared<Job>(*this);
  job->mail = std::move(mail);
  job->done = std::move(done);
  job->since = options_.clock->Monotonic();
  jobs_.insert(job);
  loop_.Post([this, job = std::move(job)] {
    if (enqueue_.connected()) return Begin(job);
    waiting_.push_back(job);
  });
}

void QueueForwarder::Connected() {
  if (!enqueue_.connected()) return;
  for (const JobPointer& job : std::exchange(waiting_, {})) Begin(job);
}

void QueueForwarder::Sweep() {
  sweep_.Set(kSweepEvery, [this] { Sweep(); });
  enqueue_.GiveUpOld();
  const auto now = options_.clock->Monotonic();
  while (!waiting_.empty() && now - waiting_.front()->since >= kConnectMax) {
    waiting_.front()->OnEnqueued("", /*final=*/true, EnqueueResult::FAILED);
    waiting_.pop_front();
  }
}

void QueueForwarder::Begin(const JobPointer& job) {
  job->queue_id = enqueue_.NextQueueId();
  agents_.Post([this, job, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    const int64_t now_ms = options_.clock->WallMillis();
    if (job->mail.envelope.arrival_ms() == 0) job->mail.envelope.set_arrival_ms(now_ms);
    job->text = message::FormatLocalReceived(options_.myhostname, options_.mail_name, job->queue_id,
                                             /*user_id=*/-1, local_time_.At(now_ms)) +
                job->mail.header;
    Read(job);
  });
}

void QueueForwarder::Read(const JobPointer& job) {
  if (job->text.size() >= kChunkBytes) return SendChunk(job);
  if (job->over) return SendLast(job);
  // The reader ends with the job, and its open call with it: no pointer in a circle.
  job->mail.contents->Next(
      [this, kept = job.get()](const absl::Status& status, const rpc::Payload& piece) {
        Take(kept->shared_from_this(), status, piece);
      });
}

void QueueForwarder::Take(const JobPointer& job, const absl::Status& status,
                          const rpc::Payload& piece) {
  if (!status.ok()) return Fail(job, status);
  job->over = piece.empty();
  for (const grpc::Slice& slice : piece) job->text += rpc::AsView(slice);
  Read(job);
}

void QueueForwarder::SendChunk(const JobPointer& job) {
  std::string chunk = job->text.substr(0, kChunkBytes);
  job->text.erase(0, kChunkBytes);
  Hand(job, {}, std::move(chunk));
}

void QueueForwarder::SendLast(const JobPointer& job) {
  queue::v1::Submission submission;
  queue::v1::NewMessage& message = *submission.mutable_message();
  *message.mutable_envelope() = job->mail.envelope;
  for (mail::v1::Recipient& recipient : job->mail.recipients) {
    *message.add_recipients() = std::move(recipient);
  }
  Hand(job, std::move(submission), std::exchange(job->text, {}));
}

void QueueForwarder::Hand(const JobPointer& job, queue::v1::Submission submission,
                          std::string content) {
  job->bytes += content.size();
  job->lines += static_cast<uint64_t>(std::count(content.begin(), content.end(), '\n'));
  submission.set_queue_id(job->queue_id);
  submission.set_chunk(job->chunks++);
  submission.set_payload_bytes(static_cast<uint32_t>(content.size()));
  submission.set_payload_crc32c(Crc32c(content));
  if (submission.has_message()) {
    submission.mutable_message()->set_content_bytes(job->bytes);
    submission.mutable_message()->mutable_envelope()->set_content_lines(job->lines);
  }
  loop_.Post(
      [this, job, submission = std::move(submission), content = std::move(content)]() mutable {
        enqueue_.Send(std::move(submission), std::move(content), job);
      });
}

void QueueForwarder::Fail(const JobPointer& job, const absl::Status& status) {
  if (job->chunks > 0) {
    queue::v1::Submission abandon;
    abandon.set_queue_id(job->queue_id);
    abandon.set_abandon(true);
    loop_.Post([this, abandon = std::move(abandon)]() mutable {
      enqueue_.Send(std::move(abandon), "", nullptr);
    });
  }
  Answer(job, status);
}

// May end this.
void QueueForwarder::Answer(const JobPointer& job, const absl::Status& status) {
  const JobPointer kept = job;
  if (jobs_.erase(kept) == 0) return;
  std::exchange(kept->done, nullptr)(status, status.ok() ? kept->queue_id : "");
}

}  // namespace postfleet::delivery
