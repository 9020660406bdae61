// powercut init | restore | boundaries | cut: the tool beside the shim. README.md says how to use
// it.
//
// restore replays the journal over the base copy: what was synced is on the disk, of the rest a
// part drawn from the seed; the result becomes the tree, and the base of the next round.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/drill/powercut/journal.h"

namespace powercut {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kSectorBytes = 512;

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "powercut: %s\n", why.c_str());
  std::exit(1);
}

std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') Die(std::string(name) + " is not set");
  return value;
}

// Preallocated files are holes for the most part: `use` gets what is not.
template <typename Use>
uint64_t ReadData(const fs::path& path, Use use) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat attributes;
  if (fd < 0 || fstat(fd, &attributes) != 0) Die("cannot read " + path.string());
  std::string part(1 << 20, '\0');
  for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
    const off_t end = lseek(fd, at, SEEK_HOLE);
    while (at < end) {
      const size_t wanted = std::min<size_t>(part.size(), static_cast<size_t>(end - at));
      const ssize_t got = pread(fd, part.data(), wanted, at);
      if (got <= 0) Die("cannot read " + path.string());
      use(at, std::string_view(part).substr(0, static_cast<size_t>(got)));
      at += got;
    }
  }
  close(fd);
  return static_cast<uint64_t>(attributes.st_size);
}

std::string Contents(const fs::path& path) {
  std::string contents;
  const uint64_t bytes = ReadData(path, [&](off_t at, std::string_view part) {
    contents.resize(static_cast<size_t>(at));
    contents.append(part);
  });
  contents.resize(bytes);
  return contents;
}

void CopyFile(const fs::path& from, const fs::path& to) {
  const int fd = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) Die("cannot make " + to.string());
  const uint64_t bytes = ReadData(from, [&](off_t at, std::string_view part) {
    if (pwrite(fd, part.data(), part.size(), at) != static_cast<ssize_t>(part.size())) {
      Die("cannot write " + to.string());
    }
  });
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) Die("cannot write " + to.string());
  close(fd);
}

struct Change {              // to a file's contents
  Kind kind = Kind::kWrite;  // kWrite, kTruncate or kExtend
  uint64_t offset = 0;
  std::string_view data;  // in the journal
};

struct Node {
  bool folder = false;
  fs::path attributes_of;  // a file whose owner and mode it takes; empty: none
  uint64_t inode = 0;
  // Of a file.
  std::string durable;
  std::vector<Change> pending;
  // Of a folder.
  std::map<std::string, Node*> seen;
  std::map<std::string, Node*> durable_names;
};

struct NameChange {
  Node* from = nullptr;  // loses `removed`
  std::string removed;
  Node* to = nullptr;  // gets `added`
  std::string added;
  Node* node = nullptr;
};

void Apply(const Change& change, std::string* contents) {
  switch (change.kind) {
    case Kind::kTruncate:
      contents->resize(change.offset);
      break;
    case Kind::kExtend:
      contents->resize(std::max<uint64_t>(contents->size(), change.offset));
      break;
    default:
      contents->resize(std::max<uint64_t>(contents->size(), change.offset + change.data.size()));
      std::memcpy(contents->data() + change.offset, change.data.data(), change.data.size());
  }
}

void Apply(const NameChange& change) {
  if (change.from != nullptr) change.from->durable_names.erase(change.removed);
  if (change.to != nullptr) change.to->durable_names[change.added] = change.node;
}

// The disk: what processes see, and what of it is durable.
class Disk {
 public:
  explicit Disk(const fs::path& shadow) : root_(NewNode(true)) { Load(shadow, root_); }

  void MapInodes(const fs::path& shadow, const std::string& base_list) {
    std::ifstream lines(base_list);
    uint64_t inode;
    std::string path;
    while (lines >> inode && lines.get() == ' ' && std::getline(lines, path)) {
      Node* node = Find(path);
      if (node == nullptr) Die("not in the shadow: " + (shadow / path).string());
      node->inode = inode;
      inodes_[inode] = node;
    }
  }

  void Replay(const Record& record, const std::string& path, const std::string& path2,
              std::string_view data) {
    switch (record.kind) {
      case Kind::kCreate: {
        Node* node = NewNode(false);
        node->inode = record.inode;
        inodes_[record.inode] = node;
        return Add(path, node);
      }
      case Kind::kWrite:
      case Kind::kTruncate:
      case Kind::kExtend:
        return InodeOf(record)->pending.push_back({record.kind, record.offset, data});
      case Kind::kDurableWrite:
        return WriteDurably(InodeOf(record), {Kind::kWrite, record.offset, data});
      case Kind::kSyncFile:
        return SyncFile(InodeOf(record));
      case Kind::kSyncFolder:
        if (Node* folder = Find(path)) SyncFolder(folder);
        return;
      case Kind::kSyncAll:
        for (const auto& node : nodes_) SyncFile(node.get());
        return KeepNames(names_.size());
      case Kind::kRename:
        return Rename(path, path2);
      case Kind::kLink:
        return Add(path2, Existing(path));
      case Kind::kUnlink:
      case Kind::kRemoveFolder:
        return Remove(path);
      case Kind::kMakeFolder:
        return Add(path, NewNode(true));
    }
    Die("a record of an unknown kind");
  }

  // The power fails. Seed 0: nothing that was not synced is kept.
  void LosePower(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<int> quarter(0, 4);
    const double keep = seed == 0 ? 0 : quarter(random) / 4.0;
    const size_t pending_names = names_.size();
    const size_t kept =
        seed == 0 ? 0 : std::uniform_int_distribution<size_t>(0, pending_names)(random);
    KeepNames(kept);
    size_t pending = 0;
    for (const auto& node : nodes_) {
      pending += node->pending.size();
      for (const Change& change : node->pending) Tear(change, keep, &random, &node->durable);
      node->pending.clear();
    }
    std::printf(
        "%zu unsynced changes of contents, kept with probability %.2f; "
        "%zu unsynced changes of names, the first %zu kept\n",
        pending, keep, pending_names, kept);
  }

  // Owners and modes are as processes last saw them.
  void TakeAttributes(const fs::path& tree) { TakeAttributes(tree, root_); }

  void WriteOut(const fs::path& tree) {
    std::set<Node*> written;
    std::map<Node*, fs::path> first_name;
    WriteFolder(tree, root_, &first_name);
  }

 private:
  Node* NewNode(bool folder) {
    nodes_.push_back(std::make_unique<Node>());
    nodes_.back()->folder = folder;
    return nodes_.back().get();
  }

  void Load(const fs::path& from, Node* folder) {
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
      if (!entry.is_directory() && !entry.is_regular_file()) continue;  // sockets
      Node* node = NewNode(entry.is_directory());
      node->attributes_of = entry.path();
      if (node->folder) {
        Load(entry.path(), node);
      } else {
        node->durable = Contents(entry.path());
      }
      folder->seen[entry.path().filename()] = folder->durable_names[entry.path().filename()] = node;
    }
  }

  Node* Find(const std::string& path) {
    Node* node = root_;
    for (const fs::path& name : fs::path(path)) {
      if (name.empty()) continue;
      const auto found = node->seen.find(name);
      if (found == node->seen.end()) return nullptr;
      node = found->second;
    }
    return node;
  }
  Node* Existing(const std::string& path) {
    Node* node = Find(path);
    return node != nullptr ? node : (Die("unknown path " + path), nullptr);
  }
  Node* FolderOf(const std::string& path) { return Existing(fs::path(path).parent_path()); }
  Node* InodeOf(const Record& record) {
    const auto found = inodes_.find(record.inode);
    if (found == inodes_.end()) {
      Die("the shim did not see how inode " + std::to_string(record.inode) + " was made");
    }
    return found->second;
  }

  void Add(const std::string& path, Node* node) {
    Node* folder = FolderOf(path);
    const std::string name = fs::path(path).filename();
    folder->seen[name] = node;
    names_.push_back({.to = folder, .added = name, .node = node});
  }
  void Remove(const std::string& path) {
    Node* folder = FolderOf(path);
    const std::string name = fs::path(path).filename();
    folder->seen.erase(name);
    names_.push_back({.from = folder, .removed = name});
  }
  void Rename(const std::string& path, const std::string& path2) {
    NameChange change{.from = FolderOf(path),
                      .removed = fs::path(path).filename(),
                      .to = FolderOf(path2),
                      .added = fs::path(path2).filename(),
                      .node = Existing(path)};
    if (change.from->seen[change.removed] == nullptr) Die("unknown path " + path);
    change.from->seen.erase(change.removed);
    change.to->seen[change.added] = change.node;
    names_.push_back(std::move(change));
  }

  void SyncFile(Node* node) {
    for (const Change& change : node->pending) Apply(change, &node->durable);
    node->pending.clear();
  }

  // Only the written range is durable; what waits under it must not come over it later.
  void WriteDurably(Node* node, const Change& write) {
    const uint64_t end = write.offset + write.data.size();
    for (Change& change : node->pending) {
      const bool apart =
          change.kind == Kind::kWrite &&
          (change.offset >= end || change.offset + change.data.size() <= write.offset);
      if (apart) continue;
      Apply(change, &node->durable);
      change.kind = Kind::kExtend;  // done
      change.offset = 0;
    }
    Apply(write, &node->durable);
  }

  // The changes of this folder, and of others what those build upon.
  void SyncFolder(Node* folder) {
    std::set<Node*> folders = {folder};
    std::vector<bool> chosen(names_.size());
    for (size_t i = names_.size(); i-- > 0;) {
      const NameChange& change = names_[i];
      chosen[i] = folders.contains(change.from) || folders.contains(change.to);
      if (!chosen[i]) continue;
      if (change.from != nullptr) folders.insert(change.from);
      if (change.to != nullptr) folders.insert(change.to);
    }
    std::vector<NameChange> rest;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (chosen[i]) {
        Apply(names_[i]);
      } else {
        rest.push_back(std::move(names_[i]));
      }
    }
    names_ = std::move(rest);
  }

  void KeepNames(size_t count) {
    for (size_t i = 0; i < count; ++i) Apply(names_[i]);
    names_.clear();
  }

  // Pages are kept or lost as a whole, one in eight is torn between sectors.
  static void Tear(const Change& change, double keep, std::mt19937_64* random,
                   std::string* contents) {
    std::bernoulli_distribution kept(keep);
    if (change.kind != Kind::kWrite) {
      if (kept(*random)) Apply(change, contents);
      return;
    }
    const uint64_t end = change.offset + change.data.size();
    uint64_t offset = change.offset;
    while (offset < end) {
      const bool torn = (*random)() % 8 == 0;
      const uint64_t unit = torn ? kSectorBytes : kPageBytes;
      const uint64_t page_end = std::min(end, (offset / kPageBytes + 1) * kPageBytes);
      for (; offset < page_end;) {
        const uint64_t unit_end = std::min(page_end, (offset / unit + 1) * unit);
        if (kept(*random)) {
          const std::string_view part =
              change.data.substr(offset - change.offset, unit_end - offset);
          Apply({Kind::kWrite, offset, part}, contents);
        }
        offset = unit_end;
      }
    }
  }

  void TakeAttributes(const fs::path& path, Node* folder) {
    for (const auto& [name, node] : folder->seen) {
      node->attributes_of = path / name;
      if (node->folder) TakeAttributes(path / name, node);
    }
  }

  void WriteFolder(const fs::path& path, Node* folder, std::map<Node*, fs::path>* first_name) {
    for (const auto& [name, node] : folder->durable_names) {
      const fs::path entry = path / name;
      if (node->folder) {
        fs::create_directory(entry);
      } else if (!first_name->emplace(node, entry).second) {
        fs::create_hard_link(first_name->at(node), entry);
        continue;
      } else {
        WriteFile(entry, node->durable);
      }
      const auto found = attributes_.find(node);
      if (found == attributes_.end()) {  // made and removed since the last init
        TakeOwnerOfFolder(path, entry);
      } else if (chown(entry.c_str(), found->second.st_uid, found->second.st_gid) != 0 ||
                 chmod(entry.c_str(), found->second.st_mode & 07777) != 0) {
        Die("cannot give " + entry.string() + " its owner and mode");
      }
      if (node->folder) WriteFolder(entry, node, first_name);
    }
  }

  static void TakeOwnerOfFolder(const fs::path& folder, const fs::path& entry) {
    struct stat attributes;
    if (lstat(folder.c_str(), &attributes) != 0 ||
        chown(entry.c_str(), attributes.st_uid, attributes.st_gid) != 0) {
      Die("cannot give " + entry.string() + " an owner");
    }
  }

  // Leaves holes where pages are empty.
  static void WriteFile(const fs::path& path, const std::string& contents) {
    static const std::string kEmptyPage(kPageBytes, '\0');
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(contents.size())) != 0) {
      Die("cannot write " + path.string());
    }
    for (uint64_t offset = 0; offset < contents.size(); offset += kPageBytes) {
      const std::string_view page = std::string_view(contents).substr(offset, kPageBytes);
      if (page == std::string_view(kEmptyPage).substr(0, page.size())) continue;
      if (pwrite(fd, page.data(), page.size(), static_cast<off_t>(offset)) !=
          static_cast<ssize_t>(page.size())) {
        Die("cannot write " + path.string());
      }
    }
    close(fd);
  }

 public:
  // Before the tree is emptied.
  void ReadAttributes() {
    for (const auto& node : nodes_) {
      struct stat attributes;
      if (!node->attributes_of.empty() && lstat(node->attributes_of.c_str(), &attributes) == 0) {
        attributes_[node.get()] = attributes;
      }
    }
  }

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  Node* const root_;
  std::unordered_map<uint64_t, Node*> inodes_;
  std::vector<NameChange> names_;  // not durable yet, in order
  std::map<Node*, struct stat> attributes_;
};

std::string_view MapFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY);
  struct stat attributes;
  if (fd < 0 || fstat(fd, &attributes) != 0) Die("cannot read " + path);
  const auto bytes = static_cast<size_t>(attributes.st_size);
  if (bytes == 0) return {};
  void* memory = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED) Die("cannot map " + path);
  return {static_cast<const char*>(memory), bytes};
}

bool RecordAt(std::string_view journal, size_t offset, Record* record) {
  if (journal.size() - offset < sizeof(Record)) return false;
  std::memcpy(record, journal.data() + offset, sizeof(Record));
  return record->magic == kMagic && record->check == CheckOf(*record);
}

// A record is whole when the journal or a next record begins behind it.
void ReplayJournal(std::string_view journal, Disk* disk) {
  size_t records = 0;
  size_t broken = 0;
  for (size_t offset = 0; offset < journal.size();) {
    Record record;
    Record next;
    if (!RecordAt(journal, offset, &record)) {
      ++offset;
      continue;
    }
    const uint64_t paths = uint64_t{record.path_bytes} + record.path2_bytes;
    const size_t end = offset + sizeof(Record) + paths + record.data_bytes;
    if (end > journal.size() || (end < journal.size() && !RecordAt(journal, end, &next))) {
      ++broken;  // its process died in the append: nobody heard of this operation's end
      ++offset;
      continue;
    }
    const std::string_view body = journal.substr(offset + sizeof(Record), end - offset);
    disk->Replay(record, std::string(body.substr(0, record.path_bytes)),
                 std::string(body.substr(record.path_bytes, record.path2_bytes)),
                 body.substr(paths, record.data_bytes));
    ++records;
    offset = end;
  }
  std::printf("%zu records, %zu broken\n", records, broken);
}

State ReadState(const std::string& control) {
  State state{};
  std::ifstream file(control + kStateName, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(&state), sizeof(state))) Die("no state in " + control);
  return state;
}

void WriteState(const std::string& control, const State& state) {
  const std::string path = control + kStateName;
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT, 0666);
  if (fd < 0 || pwrite(fd, &state, sizeof(state), 0) != sizeof(state)) Die("cannot write " + path);
  fchmod(fd, 0666);  // processes that gave up root append too
  close(fd);
}

void Empty(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    fs::remove_all(entry.path());
  }
}

void Init(const std::string& control, const fs::path& tree, const fs::path& shadow) {
  fs::create_directories(control);
  fs::create_directories(shadow);
  Empty(shadow);
  const std::string list_path = control + kBaseName;
  std::ofstream list(list_path, std::ios::trunc);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(tree)) {
    const fs::path below = entry.path().lexically_relative(tree);
    struct stat attributes;
    if (lstat(entry.path().c_str(), &attributes) != 0) Die("cannot read " + entry.path().string());
    if (entry.is_directory()) {
      fs::create_directory(shadow / below);
    } else if (entry.is_regular_file()) {
      CopyFile(entry.path(), shadow / below);
      list << attributes.st_ino << ' ' << below.string() << '\n';
    } else {
      continue;
    }
    if (chown((shadow / below).c_str(), attributes.st_uid, attributes.st_gid) != 0 ||
        chmod((shadow / below).c_str(), attributes.st_mode & 07777) != 0) {
      Die("cannot copy the owner of " + below.string());
    }
  }
  const std::string journal = control + kJournalName;
  const int fd = open(journal.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd < 0 || fchmod(fd, 0666) != 0) Die("cannot make " + journal);
  close(fd);
  WriteState(control, State{});
}

void Restore(const std::string& control, const fs::path& tree, const fs::path& shadow) {
  const char* seed = std::getenv("POWERCUT_SEED");
  Disk disk(shadow);
  disk.MapInodes(shadow, control + kBaseName);
  ReplayJournal(MapFile(control + kJournalName), &disk);
  disk.TakeAttributes(tree);
  disk.LosePower(seed != nullptr ? std::strtoull(seed, nullptr, 10) : 0);
  disk.ReadAttributes();
  Empty(tree);
  disk.WriteOut(tree);
  Init(control, tree, shadow);
}

int Run(const std::string& command) {
  const std::string control = Setting("POWERCUT_DIR");
  if (command == "boundaries") {
    std::printf("%llu\n", static_cast<unsigned long long>(ReadState(control).boundaries));
    return 0;
  }
  if (command == "cut") {
    const std::string path = control + kStateName;
    const uint64_t cut = 1;
    const int fd = open(path.c_str(), O_WRONLY);
    if (pwrite(fd, &cut, sizeof(cut), offsetof(State, cut)) != sizeof(cut)) Die("no state");
    return 0;
  }
  const fs::path tree = fs::canonical(Setting("POWERCUT_TREE"));
  const fs::path shadow = Setting("POWERCUT_SHADOW");
  if (command == "init") {
    Init(control, tree, shadow);
  } else if (command == "restore") {
    Restore(control, tree, shadow);
  } else {
    Die("usage: powercut init|restore|boundaries|cut");
  }
  return 0;
}

}  // namespace
}  // namespace powercut

int main(int argc, char** argv) { return powercut::Run(argc == 2 ? argv[1] : ""); }
