#include "commands/waiting_mail.h"

#include <unistd.h>

#include <cerrno>

#include "libs/maildrop/submission.h"

namespace postfleet::commands {
namespace {

using maildrop::Folder;

constexpr size_t kReadBytes = 64 * 1024;

// nullopt: it is no whole mail.
std::optional<maildrop::Envelope> ReadEnvelope(int fd) {
  maildrop::SubmissionReader reader;
  std::string bytes(kReadBytes, '\0');
  std::string contents;
  while (true) {
    const ssize_t size = read(fd, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    if (size == 0) break;
    contents.clear();
    const std::string_view part = std::string_view(bytes).substr(0, static_cast<size_t>(size));
    if (!reader.Take(part, &contents).ok()) return std::nullopt;
  }
  if (!reader.Finish().ok()) return std::nullopt;
  return std::move(reader.envelope());
}

}  // namespace

WaitingMail::WaitingMail(const config::Config& config) {
  absl::StatusOr<Folder> folder =
      Folder::Open(config.GetString("queue_directory") + std::string(maildrop::kFolder));
  if (folder.ok()) folder_.emplace(*std::move(folder));
}

void WaitingMail::ForEach(const std::function<bool(const queue::v1::ListedMessage&)>& message) {
  if (!folder_) return;
  folder_->Rewind();
  while (const std::optional<std::string> file = folder_->Next()) {
    const auto name = maildrop::ParseFileName(*file);
    if (!name || name->broken) continue;
    const Folder::File found = folder_->OpenFile(*file);
    if (found.state != Folder::File::kReady) continue;
    const std::optional<maildrop::Envelope> envelope = ReadEnvelope(found.fd);
    close(found.fd);
    if (!envelope) continue;
    queue::v1::ListedMessage listed;
    listed.set_queue_id(name->id);
    listed.set_arrival_ms(found.modified_ms);
    listed.set_message_bytes(found.bytes);
    listed.set_sender(envelope->sender);
    for (const maildrop::Recipient& recipient : envelope->recipients) {
      listed.add_recipients()->set_address(recipient.address);
    }
    if (!message(listed)) return;
  }
}

std::optional<std::string> WaitingMail::PathOf(const std::string& id) {
  if (!folder_) return std::nullopt;
  folder_->Rewind();
  while (const std::optional<std::string> file = folder_->Next()) {
    const auto name = maildrop::ParseFileName(*file);
    if (name && name->id == id) return folder_->path() + "/" + *file;
  }
  return std::nullopt;
}

std::optional<uint64_t> WaitingMail::Remove(const std::string& id, bool dry_run) {
  if (!folder_) return std::nullopt;
  folder_->Rewind();
  while (const std::optional<std::string> file = folder_->Next()) {
    const auto name = maildrop::ParseFileName(*file);
    if (!name || name->id != id) continue;
    const Folder::File found = folder_->LookAt(*file);
    if (found.state != Folder::File::kReady) continue;
    if (!dry_run && !folder_->Remove(*file).ok()) return std::nullopt;
    return found.bytes;
  }
  return std::nullopt;
}

WaitingMail::Removed WaitingMail::RemoveAll(bool dry_run) {
  Removed removed;
  if (!folder_) return removed;
  folder_->Rewind();
  while (const std::optional<std::string> file = folder_->Next()) {
    const Folder::File found = folder_->LookAt(*file);
    if (!maildrop::ParseFileName(*file) || found.state != Folder::File::kReady) continue;
    if (!dry_run && !folder_->Remove(*file).ok()) continue;
    ++removed.messages;
    removed.bytes += found.bytes;
  }
  return removed;
}

}  // namespace postfleet::commands
