#include "services/ingress/pickup/pickup.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "libs/maildrop/files.h"
#include "libs/message/local_time.h"
#include "libs/runtime/event_loop.h"
#include "libs/submission/enqueue_client.h"
#include "services/ingress/pickup/maildrop_watch.h"

namespace postfleet::ingress {
namespace {

using maildrop::Folder;
using queue::v1::EnqueueResult;

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kBufferBytesMax = 16u << 20;
// Names that were warned of; then all are forgotten.
constexpr size_t kWarnedMax = 1'000;
constexpr std::chrono::seconds kResendMax{5};
constexpr std::chrono::hours kNever{24 * 365};

std::string ShownSender(const std::string& sender) {
  return sender.empty() ? "" : mail::QuoteAddress(sender);
}

}  // namespace

absl::StatusOr<std::optional<PickupOptions>> PickupOptions::From(const config::Config& config) {
  const std::vector<const config::MasterService*> services =
      config.master_cf().WithCommand("pickup");
  if (services.empty()) return std::nullopt;
  const absl::StatusOr<config::Config> own = config.WithOverrides(*services[0]);
  if (!own.ok()) return own.status();
  PickupOptions options;
  options.name = "pickup@" + config.GetString("myhostname");
  options.log_program = maillog::ProgramOf(own->GetString("syslog_name"), "pickup");
  // Seconds, perhaps with a question mark; 0 and - are never.
  const int seconds = std::atoi(services[0]->wakeup.c_str());
  options.wakeup = seconds > 0 ? std::chrono::seconds(seconds) : kNever;
  options.folder = config.GetString("queue_directory") + std::string(maildrop::kFolder);
  absl::StatusOr<PickupConfig> mail = PickupConfig::From(*own);
  if (!mail.ok()) return mail.status();
  options.mail = *std::move(mail);
  return options;
}

class Pickup::Impl {
 public:
  explicit Impl(PickupOptions options)
      : options_(std::move(options)),
        budget_(kBufferBytesMax),
        enqueue_(loop_,
                 {.name = options_.name,
                  .channel = options_.queue,
                  .clock = options_.clock,
                  .resend_max = kResendMax,
                  .on_change = [this] { ScanSoon(); }},
                 budget_),
        wakeup_(loop_),
        again_(loop_) {}

  void Start() {
    loop_.Start();
    loop_.RunAndWait([this] {
      enqueue_.Start();
      Wakeup();
    });
  }

  void Drain(std::chrono::milliseconds grace) {
    loop_.Post([this] {
      draining_ = true;
      CountJobs();
    });
    std::unique_lock lock(mutex_);
    idle_changed_.wait_for(lock, grace, [this] { return idle_; });
  }

  void Stop() {
    if (std::exchange(stopped_, true)) return;
    enqueue_.Stop();
    loop_.RunAndWait([this] {
      draining_ = true;
      wakeup_.Cancel();
      again_.Cancel();
      watch_.reset();
      jobs_.clear();
    });
    loop_.Stop();
  }

 private:
  // One file under way.
  struct Job : submission::Requester {
    Job(Impl& owner, std::string file_name, int descriptor)
        : impl(owner), file(std::move(file_name)), fd(descriptor) {}
    ~Job() override { close(fd); }

    void OnFlushed(bool) override {}
    void OnEnqueued(const std::string&, bool final, EnqueueResult::Code code) override {
      impl.OnAnswer(*this, final, code);
    }

    Impl& impl;
    std::string file;  // its name now
    const int fd;
    maildrop::FileName name;
    uid_t owner = 0;
    std::unique_ptr<PickupMail> mail;
    bool said = false;  // the line about whose mail it is
    size_t unanswered_chunks = 0;
    std::optional<EnqueueResult::Code> failure;
    bool handed_over = false;  // the last part is on its way
  };
  using JobPointer = std::shared_ptr<Job>;

  template <typename... Parts>
  void Warn(const Parts&... parts) {
    maillog::Warning(options_.log_program, parts...);
  }
  // Once for each name.
  void WarnOnce(const std::string& name, const std::string& text) {
    if (warned_.size() >= kWarnedMax) warned_.clear();
    if (warned_.insert(name).second) Warn(text);
  }

  void Wakeup() {
    wakeup_.Set(options_.wakeup, [this] { Wakeup(); });
    enqueue_.GiveUpOld();
    ScanSoon();
  }

  // False: it is not there, or somebody else's.
  bool OpenFolder() {
    if (folder_) return true;
    absl::StatusOr<Folder> folder = Folder::Open(options_.folder);
    if (!folder.ok()) {
      WarnOnce(options_.folder, std::string(folder.status().message()));
      return false;
    }
    if (!folder->Lock()) return false;
    folder_.emplace(*std::move(folder));
    watch_ = std::make_unique<MaildropWatch>(loop_, options_.folder, [this] { ScanSoon(); });
    return true;
  }

  // What comes while a scan runs is seen by the next one.
  void ScanSoon() {
    if (std::exchange(scan_wanted_, true)) return;
    loop_.Post([this] { Scan(); });
  }

  bool MayTake() const {
    return !draining_ && !pausing_ && enqueue_.connected() && !enqueue_.disk_nearly_full();
  }

  // Takes what there is room for; goes on when a job ends.
  void Scan() {
    if (!MayTake() || !OpenFolder()) {
      // Who makes it possible again asks for another one.
      scan_wanted_ = false;
      scanning_ = false;
      return;
    }
    while (jobs_.size() < kAtOnceMax && MayTake()) {
      if (!scanning_) {
        if (!std::exchange(scan_wanted_, false)) return;
        folder_->Rewind();
        scanning_ = true;
      }
      if (const std::optional<std::string> name = folder_->Next()) {
        Consider(*name);
      } else {
        scanning_ = false;
      }
    }
  }

  void Consider(const std::string& file) {
    const std::optional<maildrop::FileName> name = maildrop::ParseFileName(file);
    if (name && (name->broken || under_way_.contains(name->id))) return;
    Folder::File found = name ? folder_->OpenFile(file) : folder_->LookAt(file);
    switch (found.state) {
      case Folder::File::kGone:
        return;
      case Folder::File::kStrange:
        return WarnOnce(file, Concat("maildrop/", file, ": ", found.what));
      case Folder::File::kUnfinished:
        return RemoveStale(file, found);
      case Folder::File::kReady:
        break;
    }
    if (!name) return WarnOnce(file, Concat("maildrop/", file, ": no name of a queue file"));
    auto job = std::make_shared<Job>(*this, file, found.fd);
    job->name = *name;
    job->owner = found.owner;
    job->mail = std::make_unique<PickupMail>(options_.mail, enqueue_.NextQueueId(), found.owner,
                                             found.modified_ms, local_time_.At(found.modified_ms));
    under_way_.insert(name->id);
    jobs_.push_back(job);
    CountJobs();
    GoOn(job);
  }

  void RemoveStale(const std::string& file, const Folder::File& found) {
    const auto age = std::chrono::milliseconds(options_.clock->WallMillis() - found.modified_ms);
    if (age < kUnfinishedMax) return;
    Warn("maildrop/", file, ": removed, since nobody finished it");
    if (const absl::Status removed = folder_->Remove(file); !removed.ok()) {
      WarnOnce(file, std::string(removed.message()));
    }
  }

  // Reads on while the queue takes what was read.
  void GoOn(const JobPointer& job) {
    std::string bytes(kReadBytes, '\0');
    std::vector<PickupMail::Part> parts;
    while (!job->handed_over && !job->failure && job->unanswered_chunks < kChunksMax) {
      const ssize_t size = read(job->fd, bytes.data(), bytes.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return SetAside(job, Concat("read: ", std::string_view(strerror(errno))));
      const bool over = size == 0;
      const absl::Status taken =
          over ? job->mail->Finish(&parts)
               : job->mail->Take(std::string_view(bytes).substr(0, static_cast<size_t>(size)),
                                 &parts);
      Say(*job);
      if (!taken.ok()) return SetAside(job, std::string(taken.message()));
      for (PickupMail::Part& part : parts) {
        if (part.submission.has_message()) {
          job->handed_over = true;
          if (!HandOver(job, std::move(part))) return;
        } else {
          ++job->unanswered_chunks;
          enqueue_.Send(std::move(part.submission), std::move(part.content), job);
        }
      }
      parts.clear();
    }
    if (job->failure && !job->handed_over) Failed(job, *job->failure);
  }

  void Say(Job& job) {
    const PickupMail& mail = *job.mail;
    if (mail.known() && !std::exchange(job.said, true)) {
      maillog::Info(options_.log_program, maillog::Fact("queue_id", mail.queue_id()),
                    ": uid=", maillog::Fact("uid", job.owner), " from=<",
                    maillog::Fact("from", ShownSender(mail.envelope().sender)), ">",
                    maillog::Event("pickup"));
    }
    for (const maillog::Line& note : job.mail->TakeNotes()) maillog::Write("cleanup", note);
  }

  // The submission id is on disk before the queue can have seen it. False: the job is over.
  bool HandOver(const JobPointer& job, PickupMail::Part part) {
    if (!job->name.mark) {
      const queue::v1::SubmissionId id = enqueue_.ReserveId();
      const maildrop::Mark mark = {.incarnation = id.incarnation(), .sequence = id.sequence()};
      if (mark.incarnation == 0) {
        Failed(job, EnqueueResult::EXPIRED);
        return false;
      }
      const std::string marked = maildrop::FormatFileName(job->name.id, mark);
      absl::Status status = folder_->Rename(job->file, marked);
      if (status.ok()) {
        job->file = marked;
        job->name.mark = mark;
        status = folder_->Sync();
      }
      if (!status.ok()) {
        Warn(std::string(status.message()));
        Failed(job, EnqueueResult::FAILED);
        return false;
      }
    }
    queue::v1::SubmissionId* id = part.submission.mutable_id();
    id->set_incarnation(job->name.mark->incarnation);
    id->set_sequence(job->name.mark->sequence);
    enqueue_.Send(std::move(part.submission), std::move(part.content), job);
    return true;
  }

  void OnAnswer(Job& job, bool final, EnqueueResult::Code code) {
    const auto place = std::find_if(jobs_.begin(), jobs_.end(),
                                    [&](const JobPointer& one) { return one.get() == &job; });
    if (place == jobs_.end()) return;
    const JobPointer kept = *place;
    if (!final) {
      --job.unanswered_chunks;
      if (code != EnqueueResult::COMMITTED && !job.failure) job.failure = code;
      if (!job.handed_over) GoOn(kept);
      return;
    }
    if (code == EnqueueResult::COMMITTED) return Committed(kept);
    // What came before it is why.
    Failed(kept, job.failure.value_or(code));
  }

  void Committed(const JobPointer& job) {
    if (const absl::Status removed = folder_->Remove(job->file); !removed.ok()) {
      WarnOnce(job->file, std::string(removed.message()));
    }
    End(job);
  }

  // It stays, and is tried again.
  void Failed(const JobPointer& job, EnqueueResult::Code code) {
    Abandon(job);
    if (code == EnqueueResult::REFUSED) return SetAside(job, "the queue has refused it");
    if (code == EnqueueResult::EXPIRED && job->name.mark && job->handed_over) {
      Warn("maildrop/", job->file,
           ": whether the queue has it already is not known; it is handed in again");
      if (folder_->Rename(job->file, job->name.id).ok()) job->file = job->name.id;
    } else {
      WarnOnce("queue", "mail waits in maildrop: the queue does not take it now");
    }
    Pause();
    End(job);
  }

  void Abandon(const JobPointer& job) {
    if (!job->mail->has_chunks()) return;
    queue::v1::Submission abandon;
    abandon.set_queue_id(job->mail->queue_id());
    abandon.set_abandon(true);
    enqueue_.Send(std::move(abandon), "", nullptr);
  }

  void SetAside(const JobPointer& job, const std::string& why) {
    Abandon(job);
    const std::string aside = Concat(job->name.id, maildrop::kBroken);
    Warn("uid=", job->owner, ": maildrop/", job->name.id, ": ", why, "; kept as maildrop/", aside);
    if (const absl::Status renamed = folder_->Rename(job->file, aside); !renamed.ok()) {
      WarnOnce(job->file, std::string(renamed.message()));
      Pause();
    }
    End(job);
  }

  void Pause() {
    if (std::exchange(pausing_, true)) return;
    again_.Set(options_.pause, [this] {
      pausing_ = false;
      warned_.erase("queue");
      enqueue_.GiveUpOld();
      ScanSoon();
    });
  }

  void End(const JobPointer& job) {
    under_way_.erase(job->name.id);
    std::erase(jobs_, job);
    CountJobs();
    loop_.Post([this] { Scan(); });
  }

  void CountJobs() {
    std::lock_guard lock(mutex_);
    idle_ = draining_ && jobs_.empty();
    idle_changed_.notify_all();
  }

  runtime::EventLoop loop_{"pickup"};
  const PickupOptions options_;
  submission::BufferBudget budget_;
  submission::EnqueueClient enqueue_;
  runtime::Timer wakeup_;
  runtime::Timer again_;
  message::LocalTime local_time_;
  std::optional<Folder> folder_;
  std::unique_ptr<MaildropWatch> watch_;
  std::vector<JobPointer> jobs_;
  absl::flat_hash_set<std::string> under_way_;  // ids of jobs_
  std::set<std::string> warned_;
  bool scanning_ = false;     // folder_ is in the middle of its names
  bool scan_wanted_ = false;  // from the start
  bool pausing_ = false;
  bool draining_ = false;
  bool stopped_ = false;

  std::mutex mutex_;
  std::condition_variable idle_changed_;
  bool idle_ = false;
};

Pickup::Pickup(PickupOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Pickup::~Pickup() { Stop(); }
void Pickup::Start() { impl_->Start(); }
void Pickup::Drain(std::chrono::milliseconds grace) { impl_->Drain(grace); }
void Pickup::Stop() { impl_->Stop(); }

absl::StatusOr<std::function<void()>> NodePickup::Prepare(const config::Config& config) {
  absl::StatusOr<std::optional<PickupOptions>> options = PickupOptions::From(config);
  if (!options.ok()) return options.status();
  if (options->has_value()) (*options)->queue = queue_;
  return [this, options = *std::move(options)] {
    Drain(kReloadGrace);
    Stop();
    running_ = options.has_value() ? std::make_unique<Pickup>(*options) : nullptr;
    if (running_ != nullptr) running_->Start();
  };
}

void NodePickup::Drain(std::chrono::milliseconds grace) {
  if (running_ != nullptr) running_->Drain(grace);
}

void NodePickup::Stop() {
  if (running_ != nullptr) running_->Stop();
}

}  // namespace postfleet::ingress
