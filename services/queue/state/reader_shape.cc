// Reader: how much mail of what age there is for which domain.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "services/queue/state/message_cursor.h"
#include "services/queue/state/reader.h"
#include "services/queue/state/reader_rows.h"

namespace postfleet::queue {
namespace {

constexpr size_t kShapeDomainsMax = 10'000;
constexpr size_t kShapeDomainsUsual = 100;
// Domains that can be told apart when they do not come in order.
constexpr size_t kShapeTableMax = 100'000;

using Buckets = std::vector<uint64_t>;

uint64_t Sum(const Buckets& counts) { return std::accumulate(counts.begin(), counts.end(), 0ull); }

// Keeps the domains with most.
class Top {
 public:
  explicit Top(size_t domains_max) : domains_max_(domains_max) {}

  void Add(std::string_view domain, const Buckets& counts) {
    const uint64_t sum = Sum(counts);
    if (sum == 0) return;
    rows_.push_back({std::string(domain), counts, sum});
    if (rows_.size() >= 2 * domains_max_) Cut();
  }

  void Write(v1::ShapeResponse* response) {
    Cut();
    for (Row& row : rows_) {
      v1::ShapeRow* written = response->add_domains();
      written->set_domain(std::move(row.domain));
      written->mutable_counts()->Add(row.counts.begin(), row.counts.end());
    }
  }

 private:
  struct Row {
    std::string domain;
    Buckets counts;
    uint64_t sum;
  };
  void Cut() {
    std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) {
      return a.sum != b.sum ? a.sum > b.sum : a.domain < b.domain;
    });
    if (rows_.size() > domains_max_) rows_.resize(domains_max_);
  }

  const size_t domains_max_;
  std::vector<Row> rows_;
};

// One shape in the making.
class Shaping {
 public:
  Shaping(const Store& store, const v1::ShapeRequest& request, int64_t now_ms,
          const Reader::IsActive& is_active)
      : store_(store),
        snapshot_(store.db()),
        request_(request),
        now_ms_(now_ms),
        is_active_(is_active),
        total_(static_cast<size_t>(request.age_ms_size()) + 1),
        top_(request.domains_max() == 0
                 ? kShapeDomainsUsual
                 : std::min<size_t>(request.domains_max(), kShapeDomainsMax)) {
    for (int queue : request.queues()) queues_.insert(static_cast<v1::QueueName>(queue));
    if (queues_.empty()) queues_ = {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_ACTIVE};
  }

  absl::StatusOr<v1::ShapeResponse> Run() {
    const bool by_site =
        !request_.senders() && queues_.size() == 1 && queues_.contains(v1::QUEUE_NAME_DEFERRED);
    if (absl::Status counted = by_site ? CountSites() : CountMessages(); !counted.ok()) {
      return counted;
    }
    for (const auto& [domain, counts] : table_) top_.Add(domain, counts);
    v1::ShapeResponse response;
    response.mutable_total()->mutable_counts()->Add(total_.begin(), total_.end());
    top_.Write(&response);
    response.set_truncated(truncated_);
    return response;
  }

 private:
  size_t BucketOf(int64_t arrival_ms) const {
    const auto& ages = request_.age_ms();
    return static_cast<size_t>(std::lower_bound(ages.begin(), ages.end(), now_ms_ - arrival_ms) -
                               ages.begin());
  }

  // Recipients of deferred mail, in the order of their domains: no table.
  absl::Status CountSites() {
    Rows sites(store_, Family::kSite, "", "", snapshot_.get());
    Rows deferred(store_, Family::kQueue, QueuePrefix(v1::QUEUE_NAME_DEFERRED), snapshot_.get());
    std::string domain;
    std::string message;
    bool counts = false;
    Buckets buckets(total_.size());
    for (; sites.Valid(); sites.Next()) {
      std::string_view site;
      std::string_view queue_id;
      uint32_t number = 0;
      int64_t arrival_ms = 0;
      if (!ParseSiteKey(sites.key(), &site, &queue_id, &number) ||
          !ParseTime(sites.value(), &arrival_ms)) {
        return Damaged("site", sites.key());
      }
      const bool next_site = site != domain;
      if (next_site) {
        top_.Add(domain, buckets);
        std::fill(buckets.begin(), buckets.end(), 0);
        domain.assign(site);
      }
      if (next_site || queue_id != message) {
        message.assign(queue_id);
        const std::string key = QueueKey(v1::QUEUE_NAME_DEFERRED, message);
        // Ids ascend within a site.
        next_site ? deferred.Seek(key) : deferred.Approach(key);
        counts = deferred.Valid() && deferred.key() == key && !is_active_(message);
      }
      if (!counts) continue;
      ++buckets[BucketOf(arrival_ms)];
      ++total_[BucketOf(arrival_ms)];
    }
    top_.Add(domain, buckets);
    if (absl::Status read = deferred.status(); !read.ok()) return read;
    return sites.status();
  }

  bool Wanted(const MessageCursor& cursor) const {
    const v1::QueueName queue = DurableQueueOf(cursor.row());
    const bool active = !IsParked(cursor.row()) && is_active_(cursor.queue_id());
    return queues_.contains(active ? v1::QUEUE_NAME_ACTIVE : queue);
  }

  void Count(std::string_view address, int64_t arrival_ms) {
    const size_t bucket = BucketOf(arrival_ms);
    ++total_[bucket];
    const std::string domain = SiteOf(address);
    auto found = table_.find(domain);
    if (found == table_.end()) {
      if (table_.size() >= kShapeTableMax) {
        truncated_ = true;
        return;
      }
      found = table_.emplace(domain, Buckets(total_.size())).first;
    }
    ++found->second[bucket];
  }

  absl::Status CountMessages() {
    const bool indexed = std::all_of(queues_.begin(), queues_.end(), IsIndexed);
    MessageCursor cursor(store_, snapshot_.get(),
                         indexed ? std::vector<v1::QueueName>(queues_.begin(), queues_.end())
                                 : std::vector<v1::QueueName>(),
                         "");
    Rows recipients(store_, Family::kRecipient, "", snapshot_.get());
    for (;;) {
      const absl::StatusOr<bool> next = cursor.Next();
      if (!next.ok()) return next.status();
      if (!*next) return absl::OkStatus();
      if (cursor.damaged() || !Wanted(cursor)) continue;
      const mail::v1::Envelope& envelope = cursor.row().envelope();
      if (request_.senders()) {
        Count(envelope.sender(), envelope.arrival_ms());
        continue;
      }
      CountRecipients(cursor.queue_id(), envelope.arrival_ms(), &recipients);
      if (recipients.Valid()) continue;
      const absl::Status status = recipients.status();
      if (!status.ok() && !absl::IsDataLoss(status)) return status;
    }
  }

  void CountRecipients(const std::string& queue_id, int64_t arrival_ms, Rows* recipients) {
    const std::string prefix = MessagePrefix(queue_id);
    recipients->Approach(prefix);
    for (; recipients->Valid() && recipients->key().starts_with(prefix); recipients->Next()) {
      if (!recipients->Parse(&recipient_)) continue;
      if (recipient_.state() == state::RecipientRow::STATE_BOUNCED) continue;
      Count(recipient_.recipient().address(), arrival_ms);
    }
  }

  const Store& store_;
  const Snapshot snapshot_;
  const v1::ShapeRequest& request_;
  const int64_t now_ms_;
  const Reader::IsActive& is_active_;
  std::set<v1::QueueName> queues_;
  Buckets total_;
  Top top_;
  absl::flat_hash_map<std::string, Buckets> table_;
  bool truncated_ = false;
  state::RecipientRow recipient_;
};

}  // namespace

absl::StatusOr<v1::ShapeResponse> Reader::Shape(const v1::ShapeRequest& request, int64_t now_ms,
                                                const IsActive& is_active) const {
  return Shaping(*store_, request, now_ms, is_active).Run();
}

}  // namespace postfleet::queue
