#include "commands/postcat.h"

#include <optional>

#include "commands/maildrop_text.h"
#include "commands/options.h"
#include "commands/queue_address.h"
#include "commands/queue_client.h"
#include "commands/queue_contents.h"
#include "commands/queue_file_text.h"
#include "commands/queue_report.h"
#include "commands/waiting_mail.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kUsage =
    "postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] "
    "[-h (header text)] [-q (access queue)] [-v] [file(s)...]";

struct Wishes {
  std::string config_directory;
  QueueFileOptions file;
  bool from_queue = false;
};

// The letter of an option that there is not; nullopt: there is none such.
std::optional<char> TakeOptions(const CommandLine& line, Wishes* wishes) {
  for (const Option& option : line.options) {
    switch (option.letter) {
      case 'b':
        wishes->file.body = true;
        break;
      case 'c':
        wishes->config_directory = option.argument;
        break;
      case 'd':
        wishes->file.types = true;
        break;
      case 'e':
        wishes->file.envelope = true;
        break;
      case 'h':
        wishes->file.header = true;
        break;
      case 'o':
        wishes->file.offsets = true;
        break;
      case 'q':
        wishes->from_queue = true;
        break;
      case 'v':
        wishes->file.names = true;
        break;
      default:
        return option.letter;
    }
  }
  if (!wishes->file.envelope && !wishes->file.header && !wishes->file.body) {
    wishes->file.envelope = wishes->file.header = wishes->file.body = true;
  }
  return std::nullopt;
}

class Show {
 public:
  Show(QueueClient& client, Console& console, const QueueFileOptions& options,
       const std::string& queue_id)
      : client_(client),
        console_(console),
        options_(options),
        queue_id_(queue_id),
        open_(Concat("open queue file ", queue_id)),
        text_(options, absl::LocalTimeZone(), queue_id) {}

  // The exit status; nullopt: it went well, and there may be more to show.
  std::optional<int> Run() {
    const absl::StatusOr<v1::InspectResponse> message = client_.Inspect(queue_id_, 0);
    if (!message.ok()) return CallFailed(console_, open_, message.status());
    if (!message->found()) return console_.Fatal(Concat(open_, ": No such file or directory"));
    if (message->queue() == v1::QUEUE_NAME_CORRUPT) {
      console_.Warn(
          Concat(queue_id_, ": message is corrupt: ", Showable(message->corrupt_reason())));
    }
    const absl::StatusOr<std::vector<v1::InspectedRecipient>> recipients = AllRecipients(*message);
    if (!recipients.ok()) return CallFailed(console_, open_, recipients.status());
    if (!console_.Write(text_.Envelope(*message, *recipients))) return console_.WriteFailed();
    if (options_.header || options_.body || options_.offsets) {
      if (const std::optional<int> failed = Contents(message->chunks())) return failed;
    }
    if (!console_.Write(text_.End())) return console_.WriteFailed();
    return std::nullopt;
  }
  bool missing_chunks() const { return missing_chunks_; }

 private:
  absl::StatusOr<std::vector<v1::InspectedRecipient>> AllRecipients(
      const v1::InspectResponse& first) {
    std::vector<v1::InspectedRecipient> recipients(first.recipients().begin(),
                                                   first.recipients().end());
    bool more = first.more();
    while (more && !recipients.empty()) {
      const absl::StatusOr<v1::InspectResponse> part =
          client_.Inspect(queue_id_, recipients.back().recipient().number() + 1);
      if (!part.ok()) return part.status();
      recipients.insert(recipients.end(), part->recipients().begin(), part->recipients().end());
      more = part->more() && !part->recipients().empty();
    }
    return recipients;
  }

  std::optional<int> Contents(uint32_t chunks) {
    QueueContents contents(client_, queue_id_, chunks);
    while (true) {
      const absl::StatusOr<const v1::FetchResponse*> chunk = contents.Next();
      if (!chunk.ok()) {
        return CallFailed(console_, Concat("read queue file ", queue_id_), chunk.status());
      }
      if (*chunk == nullptr) return std::nullopt;
      if (!(*chunk)->found()) {
        missing_chunks_ = true;
        console_.Warn(Concat(queue_id_, ": chunk ", (*chunk)->chunk(), " is missing"));
      }
      if ((*chunk)->corrupt()) {
        console_.Warn(
            Concat(queue_id_, ": chunk ", (*chunk)->chunk(), " does not match its checksum"));
      }
      if (!console_.Write(text_.Contents((*chunk)->payload()))) return console_.WriteFailed();
    }
  }

  QueueClient& client_;
  Console& console_;
  const QueueFileOptions& options_;
  const std::string queue_id_;
  const std::string open_;
  QueueFileText text_;
  bool missing_chunks_ = false;
};

// Of a file of maildrop, which no queue knows; nullopt: it went well.
std::optional<int> ShowFile(const std::string& path, const std::string& name, const Wishes& wishes,
                            Console& console) {
  for (const auto& [asked, option] :
       {std::pair(wishes.file.types, "-d"), std::pair(wishes.file.offsets, "-o"),
        std::pair(wishes.file.names, "-v")}) {
    if (asked) return console.NotSupported(Concat("option ", option, " of a file of maildrop"));
  }
  const absl::Status shown =
      ShowMaildropFile(path, name,
                       {.envelope = wishes.file.envelope,
                        .header = wishes.file.header,
                        .body = wishes.file.body,
                        .zone = absl::LocalTimeZone()},
                       [&](std::string_view text) { return console.Write(text); });
  if (absl::IsInvalidArgument(shown)) {
    console.Warn(Concat(name, ": ", std::string(shown.message())));
  } else if (!shown.ok()) {
    return console.Fatal(shown);
  }
  return std::nullopt;
}

int ShowFiles(const std::vector<std::string>& paths, const Wishes& wishes, Console& console) {
  for (const std::string& path : paths) {
    if (const std::optional<int> ended = ShowFile(path, path, wishes, console)) return *ended;
  }
  return console.Finish();
}

// Shows those of `queue_ids` that wait in maildrop, in front of the others, which are left.
std::optional<int> ShowWaiting(const config::Config& config, const Wishes& wishes, Console& console,
                               std::vector<std::string>* queue_ids) {
  WaitingMail waiting(config);
  std::vector<std::string> left;
  for (const std::string& queue_id : *queue_ids) {
    const std::optional<std::string> path = waiting.PathOf(queue_id);
    if (!path) {
      left.push_back(queue_id);
      continue;
    }
    const std::string name = "maildrop/" + queue_id;
    if (const std::optional<int> ended = ShowFile(*path, name, wishes, console)) return ended;
  }
  *queue_ids = std::move(left);
  return std::nullopt;
}

int ShowAll(QueueClient& client, Console& console, const Wishes& wishes,
            const std::vector<std::string>& queue_ids) {
  bool missing_chunks = false;
  for (const std::string& queue_id : queue_ids) {
    if (!IsQueueId(queue_id)) {
      return console.Fatal(Concat("bad mail queue ID: ", Showable(queue_id)));
    }
    Show show(client, console, wishes.file, queue_id);
    if (const std::optional<int> ended = show.Run()) return *ended;
    missing_chunks |= show.missing_chunks();
  }
  const int status = console.Finish();
  return missing_chunks ? 1 : status;
}

}  // namespace

int RunPostcat(const Invocation& call, const Streams& streams) {
  Console console("postcat", 1, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "bc:dehoqrs:v");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  Wishes wishes = {.config_directory = call.config_directory};
  if (const std::optional<char> unknown = TakeOptions(*line, &wishes)) {
    return console.NotSupported(Concat("option -", *unknown));
  }
  std::vector<std::string> operands = line->operands;
  if (!wishes.from_queue && operands.empty()) {
    return console.NotSupported("standard input");
  }
  if (!wishes.from_queue) return ShowFiles(operands, wishes, console);
  const absl::StatusOr<config::Config> config =
      console.LoadUnchecked(wishes.config_directory, {"queue_directory"});
  if (!config.ok()) return console.Fatal(config.status());
  if (const auto ended = ShowWaiting(*config, wishes, console, &operands)) return *ended;
  if (operands.empty()) return console.Finish();
  absl::StatusOr<QueueClient> client =
      QueueClient::Open(wishes.config_directory, QueuePower::kEverything, console);
  if (!client.ok()) return console.Fatal(client.status());
  return ShowAll(*client, console, wishes, operands);
}

}  // namespace postfleet::commands
