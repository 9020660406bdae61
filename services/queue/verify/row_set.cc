#include "services/queue/verify/row_set.h"

#include <algorithm>

namespace postfleet::queue {
namespace {

// Spreads what std::hash leaves alike (the finalizer of splitmix64).
uint64_t Mix(uint64_t bits) {
  bits ^= bits >> 30;
  bits *= 0xbf58476d1ce4e5b9;
  bits ^= bits >> 27;
  bits *= 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

uint64_t HashOf(std::string_view key, std::string_view value) {
  const std::hash<std::string_view> hash;
  return Mix(Mix(hash(key)) + hash(value));
}

}  // namespace

size_t RowSet::PartOf(std::string_view key) {
  return Mix(std::hash<std::string_view>()(key)) % kParts;
}

void RowSet::Expect(std::string_view key, std::string_view value, std::string_view owner) {
  if (!naming_) {
    Part& part = parts_[PartOf(key)];
    part.hashes += HashOf(key, value);
    ++part.rows;
    return;
  }
  Row* row = Named(key);
  if (row == nullptr) return;
  ++row->expected;
  row->owner = owner;
  row->expected_value = value;
}

void RowSet::Find(std::string_view key, std::string_view value) {
  if (!naming_) {
    Part& part = parts_[PartOf(key)];
    part.hashes -= HashOf(key, value);
    --part.rows;
    return;
  }
  Row* row = Named(key);
  if (row == nullptr) return;
  ++row->found;
  row->found_value = value;
}

bool RowSet::Differs() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.differs(); });
}

RowSet::Row* RowSet::Named(std::string_view key) {
  if (!parts_[PartOf(key)].differs()) return nullptr;
  const auto known = named_.find(key);
  if (known != named_.end()) return &known->second;
  if (named_.size() >= kNamedMax) {
    overflowed_ = true;
    return nullptr;
  }
  return &named_[std::string(key)];
}

void RowSet::ForEachDifference(
    const std::function<void(const std::string& key, const Row& row)>& visit) const {
  for (const auto& [key, row] : named_) {
    if (row.expected != row.found || row.expected_value != row.found_value) visit(key, row);
  }
}

}  // namespace postfleet::queue
