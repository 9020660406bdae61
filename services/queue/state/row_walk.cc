#include "services/queue/state/row_walk.h"

namespace postfleet::queue {
namespace {

constexpr uint64_t kSkipsMax = 64;

rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

}  // namespace

RowWalk::RowWalk(const Store* store, Family family) : store_(store), family_(family) {
  Make(kSkipsMax);
}

void RowWalk::Make(uint64_t skips_max) {
  rocksdb::ReadOptions read;
  read.max_skippable_internal_keys = skips_max;
  rows_.reset(store_->db()->NewIterator(read, store_->family(family_)));
}

void RowWalk::Seek(std::string_view wanted) {
  if (rows_->Valid() && key() == wanted) return;
  if (may_step_ && rows_->Valid() && key() < wanted) {
    rows_->Next();
    if (rows_->Valid() && key() >= wanted) return;
  }
  rows_->Seek(AsSlice(wanted));
  if (rows_->Valid() || !rows_->status().IsIncomplete()) return;
  may_step_ = false;
  Make(0);
  rows_->Seek(AsSlice(wanted));
}

void RowWalk::Next() {
  if (!may_step_) {
    rows_->Next();
    return;
  }
  std::string behind(key());
  behind.push_back('\0');
  rows_->Next();
  if (rows_->Valid() || !rows_->status().IsIncomplete()) return;
  may_step_ = false;
  Make(0);
  rows_->Seek(behind);
}

}  // namespace postfleet::queue
