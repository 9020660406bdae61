#include "services/delivery/bounce/bounce_agent.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "libs/message/header.h"

namespace postfleet::delivery {

using maillog::Event;
using maillog::Fact;

namespace {

// Where the header ends; false while that is still to come.
bool HasWholeHeader(std::string_view contents, size_t* header_bytes) {
  message::HeaderReader fields(contents);
  while (fields.Next()) {
  }
  *header_bytes = fields.offset();
  // A line that is no field, complete, ends it.
  return contents.find('\n', fields.offset()) != std::string_view::npos;
}

// As the log names them.
std::string_view NameOf(NoticeKind kind) {
  switch (kind) {
    case NoticeKind::kDelay:
      return "delay";
    case NoticeKind::kSuccess:
    case NoticeKind::kTrace:
    case NoticeKind::kVerify:
      return "delivery status";
    default:
      return "non-delivery";
  }
}

// The header of a message.
std::string_view HeaderOf(std::string_view contents) {
  size_t bytes = 0;
  HasWholeHeader(contents, &bytes);
  return contents.substr(0, bytes);
}

bool HasEightBit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace

namespace {

std::string ReadTemplateFile(const std::string& path, std::vector<std::string>* problems) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kTemplateFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    problems->push_back(Concat("open bounce_template_file ", path, ": ",
                               std::string_view(strerrordesc_np(errno)),
                               " -- using the built-in templates"));
    return "";
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

NoticeTemplates ReadTemplates(const config::Config& config) {
  std::vector<std::string> problems;
  NoticeTemplates templates = NoticeTemplates::BuiltIn();
  const std::string path = config.GetString("bounce_template_file");
  if (!path.empty()) {
    templates = ParseTemplates(ReadTemplateFile(path, &problems), path, &problems);
  }
  const auto value = [&config](std::string_view name) -> std::optional<std::string> {
    if (name == "delay_warning_time" || name == "maximal_queue_lifetime") {
      return std::to_string(absl::ToInt64Seconds(config.GetTime(name)));
    }
    const absl::StatusOr<std::string> found = config.FindExpanded(name);
    return found.ok() ? std::optional(*found) : std::nullopt;
  };
  for (NoticeTemplate* read :
       {&templates.failure, &templates.delay, &templates.success, &templates.verify}) {
    // Without warnings of delay their text is nobody's.
    std::vector<std::string> unused;
    const bool used =
        read != &templates.delay || config.GetTime("delay_warning_time") > absl::ZeroDuration();
    read->body = ExpandTemplate(read->body, value, used ? &problems : &unused);
  }
  for (const std::string& problem : problems) maillog::Warning("bounce", problem);
  return templates;
}

// Of all notices: what smtpd would tell a postmaster of a session (class notify) is not ours.
bool DetectsSmtputf8(const config::Config& config) {
  const std::vector<std::string> classes = config.GetList("smtputf8_autodetect_classes");
  return config.GetBool("smtputf8_enable") &&
         std::any_of(classes.begin(), classes.end(),
                     [](const std::string& name) { return name == "bounce" || name == "all"; });
}

// The parameter's address, whole.
std::string NoticeRecipient(const config::Config& config, const char* parameter) {
  std::string recipient = config.GetString(parameter);
  if (recipient.find('@') == std::string::npos) {
    ConcatTo(&recipient, "@", config.GetString("myorigin"));
  }
  return recipient;
}

}  // namespace

BounceOptions BounceOptions::FromConfig(const config::Config& config) {
  BounceOptions options = {.names = {.myhostname = config.GetString("myhostname"),
                                     .myorigin = config.GetString("myorigin"),
                                     .mail_name = config.GetString("mail_name"),
                                     .smtputf8 = config.GetBool("smtputf8_enable"),
                                     .templates = ReadTemplates(config)},
                           .size_limit = static_cast<uint64_t>(config.GetSize("bounce_size_limit")),
                           .double_bounce_sender = config.GetString("double_bounce_sender")};
  const struct {
    std::string_view name;
    const char* parameter;
    std::string* recipient;
  } classes[] = {
      {"bounce", "bounce_notice_recipient", &options.bounce_recipient},
      {"2bounce", "2bounce_notice_recipient", &options.double_bounce_recipient},
      {"delay", "delay_notice_recipient", &options.delay_recipient},
  };
  options.detect_smtputf8 = DetectsSmtputf8(config);
  for (const std::string& name : config.GetList("notify_classes")) {
    for (const auto& row : classes) {
      if (!message::EqualsIgnoreCase(name, row.name)) continue;
      *row.recipient = NoticeRecipient(config, row.parameter);
    }
  }
  options.null_success_recipient = options.double_bounce_recipient;
  // Who is told of all that fails is told of double bounces too.
  if (!options.bounce_recipient.empty()) {
    options.double_bounce_recipient = NoticeRecipient(config, "2bounce_notice_recipient");
  }
  return options;
}

BounceAgent::BounceAgent(BounceOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {}

void BounceAgent::Start(std::unique_ptr<Attempt> attempt) {
  const uint64_t id = attempt->delivery.id();
  Running running = Judge(attempt->delivery);
  const bool anybody =
      running.sender || running.success || running.trace || !running.postmaster.empty();
  running.attempt = std::move(attempt);
  running_[id] = std::move(running);
  if (!anybody) return Finish(id, {});
  Read(id);
}

bool BounceAgent::IsDoubleBounceSender(const std::string& sender) const {
  return message::EqualsIgnoreCase(sender, options_.double_bounce_sender) ||
         message::EqualsIgnoreCase(
             sender, Concat(options_.double_bounce_sender, "@", options_.names.myorigin));
}

BounceAgent::Running BounceAgent::Judge(const scheduler::v1::Delivery& delivery) const {
  Running running;
  running.kind = KindOf(delivery);
  const bool failure = running.kind == NoticeKind::kFailure;
  const std::string& sender = delivery.envelope().sender();
  if (delivery.bounced().empty()) return running;
  const bool double_bounce = IsDoubleBounceSender(sender);
  const bool nobody = sender.empty() && options_.null_success_recipient.empty();
  if (running.kind == NoticeKind::kSuccess && (double_bounce || nobody)) {
    maillog::Info("bounce", delivery.queue_id(), ": not sending trace/success notification for ",
                  double_bounce ? "double" : "single", "-bounce message");
    return running;
  }
  if (double_bounce) {
    maillog::Warning("bounce", delivery.queue_id(),
                     ": undeliverable postmaster notification discarded");
    return running;
  }
  if (running.kind == NoticeKind::kSuccess && sender.empty()) {
    // In the sender's place.
    running.sender = true;
  } else if (sender.empty() || delivery.envelope().is_notice()) {
    if (failure) running.postmaster = options_.double_bounce_recipient;
  } else if (delivery.envelope().probe()) {
    running.kind = NoticeKind::kVerify;
    running.sender = true;
  } else if (delivery.envelope().trace() && !failure) {
    running.kind = NoticeKind::kTrace;
    running.sender = true;
  } else {
    running.sender =
        std::any_of(delivery.bounced().begin(), delivery.bounced().end(),
                    [&](const auto& bounced) { return AsksFor(bounced, running.kind); });
    running.success = failure && std::any_of(delivery.bounced().begin(), delivery.bounced().end(),
                                             [](const auto& bounced) {
                                               return AsksFor(bounced, NoticeKind::kSuccess);
                                             });
    running.trace = delivery.envelope().trace();
    if (failure) running.postmaster = options_.bounce_recipient;
    if (running.kind == NoticeKind::kDelay) running.postmaster = options_.delay_recipient;
  }
  if (delivery.copy_queue_id().empty()) running.postmaster.clear();
  if (delivery.copy_queue_id().empty()) running.success = running.trace = false;
  // The copy of what the sender gets is its header.
  const bool returns = running.sender || sender.empty();
  // RET is the sender's word, and of the null sender's mail the postmaster alone is told.
  const bool header_asked =
      running.sender && delivery.envelope().dsn_return() == mail::v1::Envelope::RETURN_HDRS;
  running.whole =
      failure && returns && !header_asked &&
      delivery.content_bytes() <= std::min<uint64_t>(options_.size_limit, kNoticeBytesMax);
  return running;
}

void BounceAgent::Read(uint64_t delivery_id) {
  // The reader ends with the attempt, and its calls with it.
  running_.at(delivery_id)
      .attempt->contents->Next(
          [this, delivery_id](const absl::Status& status, rpc::Payload payload) {
            OnContents(delivery_id, status, payload);
          });
}

void BounceAgent::OnContents(uint64_t delivery_id, const absl::Status& status,
                             const rpc::Payload& payload) {
  if (!status.ok()) return Fail(delivery_id, std::string(status.message()));
  Running& running = running_.at(delivery_id);
  const uint64_t bytes_max = running.attempt->delivery.content_bytes();
  for (const grpc::Slice& slice : payload) running.contents += rpc::AsView(slice);
  if (running.contents.size() > bytes_max ||
      (payload.empty() && running.contents.size() < bytes_max)) {
    return Fail(delivery_id, "message contents are not as long as they should be");
  }
  size_t header_bytes = 0;
  if (!payload.empty() && (running.whole || (!HasWholeHeader(running.contents, &header_bytes) &&
                                             running.contents.size() < kNoticeBytesMax))) {
    return Read(delivery_id);
  }
  Compose(delivery_id);
}

void BounceAgent::Compose(uint64_t delivery_id) {
  const Running& running = running_.at(delivery_id);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  AttemptResult result;
  if (running.sender) {
    Submit(running,
           {.kind = running.kind,
            .audience = Audience::kSender,
            .queue_id = delivery.notice_queue_id(),
            .recipient = delivery.envelope().sender().empty() ? options_.null_success_recipient
                                                              : delivery.envelope().sender()},
           running.whole, result.result.mutable_notice(), &result);
  }
  // The report holds the success as well; the postmaster's copy goes before either.
  const bool is_second_free = !(running.sender && !running.postmaster.empty());
  if ((running.success || running.trace) && is_second_free) {
    Submit(running,
           {.kind = running.trace ? NoticeKind::kTrace : NoticeKind::kSuccess,
            .audience = Audience::kSender,
            .queue_id = running.sender ? delivery.copy_queue_id() : delivery.notice_queue_id(),
            .recipient = delivery.envelope().sender()},
           /*whole=*/false,
           running.sender ? result.result.mutable_copy() : result.result.mutable_notice(), &result);
  }
  if (!running.postmaster.empty()) {
    Submit(running,
           {.kind = running.kind,
            .audience = Audience::kPostmaster,
            .queue_id = delivery.copy_queue_id(),
            .recipient = running.postmaster},
           running.whole && !running.sender, result.result.mutable_copy(), &result);
  }
  Finish(delivery_id, std::move(result));
}

void BounceAgent::Submit(const Running& running, const NoticeRequest& request, bool whole,
                         queue::v1::Submission* notice, AttemptResult* result) {
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  const bool to_sender = request.audience == Audience::kSender;
  const int64_t now_ms = clock_.WallMillis();
  const ReturnedMessage returned = {
      .contents = whole ? std::string_view(running.contents) : HeaderOf(running.contents),
      .part = whole ? ReturnedMessage::Part::kWhole : ReturnedMessage::Part::kHeaders};
  std::string text = ComposeNotice(delivery, request, returned, options_.names, now_ms);

  notice->set_queue_id(std::string(request.queue_id));
  notice->set_payload_bytes(static_cast<uint32_t>(text.size()));
  notice->set_payload_crc32c(Crc32c(text));
  queue::v1::NewMessage* message = notice->mutable_message();
  message->set_content_bytes(text.size());
  mail::v1::Envelope* envelope = message->mutable_envelope();
  if (!to_sender || delivery.envelope().sender().empty()) {
    envelope->set_sender(Concat(options_.double_bounce_sender, "@", options_.names.myorigin));
  }
  envelope->set_arrival_ms(now_ms);
  envelope->set_is_notice(true);
  // Where its header says 8bit, whether or not a byte is.
  envelope->set_body_8bitmime(options_.names.smtputf8 || delivery.envelope().body_8bitmime() ||
                              HasEightBit(text));
  const bool needs_utf8 = HasEightBit(HeaderOf(text)) || HasEightBit(request.recipient);
  envelope->set_smtputf8(delivery.envelope().smtputf8() ||
                         (options_.detect_smtputf8 && needs_utf8));
  envelope->set_content_lines(static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')));
  message->add_recipients()->set_address(std::string(request.recipient));

  maillog::Info("cleanup", Fact("queue_id", request.queue_id), ": message-id=",
                Fact("message_id", NoticeMessageId(request.queue_id, options_.names)),
                Event("message_id"));
  maillog::Info("bounce", Fact("queue_id", delivery.queue_id()), ": ",
                Fact("told", to_sender ? "sender" : "postmaster"), ' ',
                Fact("kind", NameOf(request.kind)),
                " notification: ", Fact("notice_queue_id", request.queue_id), Event("notice"));
  result->notice_contents.push_back(rpc::OwningSlice(std::move(text)));
}

void BounceAgent::Fail(uint64_t delivery_id, std::string_view why) {
  const scheduler::v1::Delivery& delivery = running_.at(delivery_id).attempt->delivery;
  maillog::Warning("bounce", delivery.queue_id(), ": cannot make the ", NameOf(KindOf(delivery)),
                   " notification now: ", why);
  AttemptResult result;
  result.result.set_notice_failed(true);
  Finish(delivery_id, std::move(result));
}

void BounceAgent::Finish(uint64_t delivery_id, AttemptResult result) {
  auto node = running_.extract(delivery_id);
  result.result.set_id(delivery_id);
  // The answer may end this agent.
  node.mapped().attempt->done(std::move(result));
}

void BounceAgent::Cancel(uint64_t delivery_id) {
  if (running_.contains(delivery_id)) Fail(delivery_id, "called off");
}

}  // namespace postfleet::delivery
