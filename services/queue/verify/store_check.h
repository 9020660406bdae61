// One pass over a store: see verify.h. An object for one pass; not thread-safe.
#pragma once

#include <rocksdb/db.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/state/store.h"
#include "services/queue/verify/finding_list.h"
#include "services/queue/verify/row_cursor.h"
#include "services/queue/verify/row_set.h"

namespace postfleet::queue {

class StoreCheck {
 public:
  StoreCheck(const Store* store, const rocksdb::Snapshot* snapshot, FindingList* findings)
      : store_(store), snapshot_(snapshot), findings_(findings) {}

  // Cancelled: the listener wants no more.
  absl::Status Run();

 private:
  // The five families that are in the order of queue ids, walked side by side.
  struct Walk;
  // What the rows of one id are.
  struct Recipients {
    uint32_t pending = 0;
    uint32_t deferred = 0;
    uint32_t bounced = 0;
    bool damaged = false;
  };
  struct Body {
    uint32_t chunks = 0;
    uint64_t bytes = 0;
    bool damaged = false;
  };
  struct Message {
    std::string_view id;
    bool exists = false;
    // Its row does not parse, or may lie in a stretch that cannot be read.
    bool unknown = false;
    state::MessageRow row;
    // Of recipients and jobs.
    uint64_t rows = 0;
    Recipients recipients;
    bool jobs_damaged = false;
    Body body;
  };
  // Sets of rows that lie in other orders than queue ids.
  struct Index {
    Family family;
    RowSet rows;
  };

  RowCursor Rows(Family family) {
    return RowCursor(store_, family, snapshot_, findings_, &gaps_[static_cast<size_t>(family)]);
  }
  Gaps& gaps(Family family) { return gaps_[static_cast<size_t>(family)]; }
  RowSet& set(Family family);
  void Say(const Message& message, std::string_view what);

  void CheckDefault();
  bool CheckMessages(bool with_bodies);
  void CheckOne(Walk* walk, std::string_view id);
  void ReadMessage(Walk* walk, Message* message);
  void ReadRecipients(Walk* walk, Message* message);
  void ReadRecipient(std::string_view key, std::string_view value, Message* message);
  void ReadJobs(Walk* walk, Message* message);
  void ReadJob(std::string_view key, std::string_view value, Message* message);
  void ReadBody(Walk* walk, Message* message);
  void ReadChunk(std::string_view key, std::string_view value, Message* message);
  void JudgeMessage(const Message& message);
  void JudgeRecipients(const Message& message);
  void JudgeJobs(const Message& message);
  void JudgeIntake(const Message& message);
  void JudgeBody(const Message& message, const state::UploadRow* upload);

  bool CheckIndex(Index* index);
  bool CheckSubmissions();
  void CheckCounts();
  bool NameDifferences();
  void NameRow(Family family, const std::string& key, const RowSet::Row& row);
  bool MayBeLost(Family family, const std::string& queue_id) const;

  const Store* const store_;
  const rocksdb::Snapshot* const snapshot_;
  FindingList* const findings_;

  state::StateRow state_;
  bool state_known_ = false;
  std::array<Gaps, kFamilyCount> gaps_;
  std::array<Index, 5> indexes_ = {Index{Family::kIntake, {}}, Index{Family::kDue, {}},
                                   Index{Family::kQueue, {}}, Index{Family::kSite, {}},
                                   Index{Family::kBody, {}}};
  // Of the contents, to compare with those of the state row.
  state::Counts counted_;
  // Of the message at hand, as (recipient, job): deferred recipients, and what jobs list.
  std::vector<std::pair<uint32_t, uint32_t>> waiting_;
  std::vector<std::pair<uint32_t, uint32_t>> listed_;
};

}  // namespace postfleet::queue
