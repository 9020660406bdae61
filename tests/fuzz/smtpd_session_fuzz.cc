// The server's session against hostile clients, and services behind it that are late, full or gone:
// it keeps what watched_session.h lists, and says and hands over the same in pieces of any size.
//
// The first kOptionBytes bytes choose settings, facts of the connection and the pieces. What
// follows is what the client sends; a byte from kEventMin on is an event, most with an argument
// behind it (such bytes are in no UTF-8; to send one, kLiteral comes in front).
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "services/ingress/core/client_rates.h"
#include "services/ingress/core/command_rules.h"
#include "services/ingress/core/reject_footer.h"
#include "services/ingress/core/scripted_session.h"
#include "tests/fuzz/watched_session.h"

namespace {

using postfleet::config::Restriction;
using postfleet::ingress::ClientLimits;
using postfleet::ingress::ClientRates;
using postfleet::ingress::ClientVisit;
using postfleet::ingress::ConnectionFacts;
using postfleet::ingress::Membership;
using postfleet::ingress::Restrictions;
using postfleet::ingress::ScriptedSession;
using postfleet::ingress::SessionConfig;
using postfleet::ingress::WatchedSession;
using postfleet::queue::v1::EnqueueResult;
using postfleet::smtp::BareNewline;

constexpr size_t kOptionBytes = 7;
enum Event : uint8_t {
  kEventMin = 0xf5,
  kLookup = kEventMin,
  kQueue,
  kDelay,
  kTime,
  kTimeout,
  kLeave,
  kShutdown,
  kWorld,
  kFlush,
  kAtOnce,
  kLiteral,
};
constexpr int64_t kArgumentMs = 250;

// What can be chosen.
constexpr BareNewline kBareNewlines[] = {BareNewline::kNormalize, BareNewline::kNo,
                                         BareNewline::kReject, BareNewline::kNote};
constexpr uint64_t kMessageSizes[] = {0, 300, 3'000, 100'000};
constexpr size_t kChunkSizes[] = {4'096, 100, 1, 1'024};
constexpr size_t kLineLengths[] = {2'048, 64, 5, 600};
constexpr std::string_view kDiscarded[] = {
    "",           "chunking", "smtputf8", "dsn, size", "8bitmime silent-discard",
    "pipelining", "vrfy",     "etrn"};
constexpr EnqueueResult::Code kCodes[] = {
    EnqueueResult::COMMITTED, EnqueueResult::COMMITTED,       EnqueueResult::DISK_FULL,
    EnqueueResult::REFUSED,   EnqueueResult::EXPIRED,         EnqueueResult::OVERLOADED,
    EnqueueResult::FAILED,    EnqueueResult::CODE_UNSPECIFIED};

// Made once: reading a configuration takes as long as a thousand sessions.
struct Shared {
  std::array<std::shared_ptr<postfleet::ingress::CommandRules>, 4> rules = {
      ScriptedSession::Rules(), ScriptedSession::Rules("smtpd_noop_commands = foo, RSET\n"),
      ScriptedSession::Rules("smtpd_command_filter = pcre:{{/^HELP (.*)/ $$1}}\n"),
      ScriptedSession::Rules("smtpd_discard_ehlo_keyword_address_maps = static:chunking\n")};
  std::array<std::shared_ptr<postfleet::ingress::RejectFooter>, 4> footers = {
      nullptr, nullptr, ScriptedSession::Footer("smtpd_reject_footer = \\c, by $server_name\n"),
      ScriptedSession::Footer("smtpd_reject_footer = help: $client_address\\n$sender\n")};
};

Restrictions ListOf(uint8_t which) {
  switch (which % 8) {
    case 1:
      return {{Restriction::kSleep, 1}};
    case 2:
      return {{Restriction::kSleep, 1}, Restriction::kReject};
    case 3:
      return {Restriction::kReject};
    case 4:
      return {Restriction::kPermitMynetworks, Restriction::kDefer};
    case 5:
      return {Restriction::kRejectUnauthDestination, {Restriction::kSleep, 2}};
    default:
      return {};
  }
}

class Options {
 public:
  explicit Options(const uint8_t* bytes) : bytes_(bytes) {}

  SessionConfig Config() const {
    static const Shared& shared = *new Shared;
    static const SessionConfig& plain = *new SessionConfig(ScriptedSession::Config());
    SessionConfig config = plain;
    config.bare_newline = kBareNewlines[bytes_[0] & 3];
    config.forbid_unauth_pipelining = !compared() && Bit(0, 3);
    config.delay_reject = !Bit(0, 4);
    config.smtputf8 = !Bit(0, 5);
    config.strict_smtputf8 = Bit(0, 6);
    config.strict_envelopes = Bit(0, 7);
    config.discarded_keywords =
        postfleet::smtp::EhloKeywords(Bit(1, 3) ? kDiscarded[bytes_[1] & 7] : "");
    config.helo_required = Bit(1, 4);
    config.disable_vrfy = Bit(1, 5);
    config.soft_bounce = Bit(1, 6);
    config.replace_stray_cr = !Bit(1, 7);
    config.message_size_limit = kMessageSizes[bytes_[2] & 3];
    config.chunk_bytes = kChunkSizes[(bytes_[2] >> 2) & 3];
    config.line_length_limit = kLineLengths[(bytes_[2] >> 4) & 3];
    config.header_size_limit = Bit(2, 6) ? 60 : 102'400;
    config.delay_open_until_valid_rcpt = !Bit(2, 7);
    config.recipient_limit = Bit(3, 0) ? 2 : 5;
    config.recipient_overshoot_limit = 1;
    config.soft_error_limit = Bit(3, 1) ? 1 : 10;
    config.hard_error_limit = Bit(3, 2) ? 3 : 20;
    config.junk_command_limit = Bit(3, 3) ? 2 : 100;
    config.hopcount_limit = Bit(3, 4) ? 2 : 50;
    config.command_rules = shared.rules[(bytes_[3] >> 5) & 3];
    config.reject_footer = shared.footers[bytes_[4] & 3];
    config.rewrite_remote_headers = Bit(4, 2);
    config.remote_rewriting = {.origin = "remote.example", .domain = "remote.example"};
    config.always_add_missing_headers = Bit(4, 3);
    config.resolve_null_domain = config.resolve_numeric_domain = Bit(4, 4);
    config.allow_untrusted_routing = config.allow_min_user = Bit(4, 5);
    config.reject_unlisted_recipient = !Bit(4, 6);
    config.relay_before_recipient = !Bit(4, 7);
    ChooseList(&config);
    if (!Bit(1, 3)) ChooseContentRules(&config.content_rules.cleanup);
    return config;
  }

  // `rates` is for both runs alike: each has its own.
  ConnectionFacts Facts() const {
    ConnectionFacts facts = ScriptedSession::Facts();
    facts.mynetworks = static_cast<Membership>(bytes_[6] % 3);
    facts.bare_newline_excluded = Bit(6, 2);
    facts.may_xclient = facts.may_xforward = facts.may_verp = Bit(5, 6);
    if (!compared() && Bit(6, 3)) facts.early_bytes = "EHLO \xff\r\n";
    if (Bit(6, 4)) {
      const ClientLimits limits{.connection_count = Bit(6, 5) ? 0 : 1,
                                .connection_rate = 0,
                                .message_rate = 2,
                                .recipient_rate = 3};
      facts.visit = std::make_shared<ClientVisit>(std::make_shared<ClientRates>(limits),
                                                  facts.address, 1'800'000'000'000);
    }
    return facts;
  }

  bool ready() const { return !(Bit(6, 6) && Bit(6, 7) && Bit(6, 5)); }
  // Run again in pieces of one byte. Not where the cut may tell: what was sent ahead is judged by
  // what has come, and a queue that refuses one of several chunks was asked at other places.
  bool compared() const { return !Bit(5, 7); }
  size_t piece_bytes() const {
    const size_t n = bytes_[6] >> 4;
    return n == 0 ? 4'096 : n;
  }

 private:
  bool Bit(size_t byte, int bit) const { return ((bytes_[byte] >> bit) & 1) != 0; }
  void ChooseList(SessionConfig* config) const {
    Restrictions* const lists[] = {&config->client_restrictions, &config->helo_restrictions,
                                   &config->sender_restrictions, &config->recipient_restrictions,
                                   &config->data_restrictions,   &config->end_of_data_restrictions,
                                   &config->etrn_restrictions,   &config->relay_restrictions};
    if (const Restrictions list = ListOf(bytes_[5] & 7); !list.empty()) {
      *lists[(bytes_[5] >> 3) & 7] = list;
    }
  }

  void ChooseContentRules(postfleet::message::CleanupOptions* rules) const {
    const int which = bytes_[1] & 7;
    if (which == 1) rules->strip_bytes = std::string("a\0", 2);
    if (which == 2) rules->reject_bytes = "\x01z";
    if (which == 3) rules->refuse_header_8bit = true;
    if (which == 4) rules->refuse_body_8bit = true;
    if (which == 5) rules->refuse_encoding_domain = true;
    if (which == 6) rules->mime_limits = {.boundary_bytes_max = 4, .nesting_max = 1};
    if (which == 7) rules->mime = false;
  }

  const uint8_t* const bytes_;
};

void Choose(uint8_t argument, WatchedSession* session) {
  session->queue_is_there = (argument & 1) == 0;
  session->queue_reached = (argument & 2) == 0;
  session->disk_nearly_full = (argument & 4) != 0;
  session->queue_is_behind = (argument & 8) != 0;
  session->buffers_full = (argument & 16) != 0;
}

void Play(Event event, uint8_t argument, WatchedSession* session) {
  switch (event) {
    case kLookup:
      session->lookup = static_cast<WatchedSession::Lookup>(argument % 8);
      return session->AnswerLookup();
    case kQueue:
      session->queue_code = kCodes[argument % std::size(kCodes)];
      return session->AnswerQueue();
    case kDelay:
      return session->EndDelay();
    case kTime:
      return session->PassTime(argument * kArgumentMs);
    case kTimeout:
      return session->Timeout();
    case kLeave:
      return session->Disconnect();
    case kShutdown:
      return session->Shutdown();
    case kWorld:
      return Choose(argument, session);
    case kFlush:
      session->flush_starts = argument % 2 == 0;
      return session->AnswerFlush();
    case kAtOnce:
      session->at_once = {.lookup = (argument & 1) == 0,
                          .queue = (argument & 2) == 0,
                          .flush = (argument & 4) == 0,
                          .delay = (argument & 8) == 0};
      return;
    case kLiteral:
      break;
  }
}

bool HasArgument(uint8_t event) {
  return event != kDelay && event != kTimeout && event != kLeave && event != kShutdown;
}

void Play(std::string_view script, WatchedSession* session) {
  std::string sent;
  while (!script.empty()) {
    const auto byte = static_cast<uint8_t>(script.front());
    script.remove_prefix(1);
    if (byte < kEventMin) {
      sent += static_cast<char>(byte);
      continue;
    }
    uint8_t argument = 0;
    if (HasArgument(byte) && !script.empty()) {
      argument = static_cast<uint8_t>(script.front());
      script.remove_prefix(1);
    }
    if (byte == kLiteral) {
      sent += static_cast<char>(argument);
      continue;
    }
    session->Send(sent);
    sent.clear();
    Play(static_cast<Event>(byte), argument, session);
  }
  session->Send(sent);
}

std::string Transcript(const Options& options, std::string_view script, size_t piece_bytes) {
  const SessionConfig config = options.Config();
  WatchedSession session(config, options.Facts(), piece_bytes);
  session.chunks_are_taken = options.compared();
  session.Connect(options.ready());
  Play(script, &session);
  session.Finish();
  return session.transcript();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kOptionBytes) return 0;
  const Options options(data);
  const std::string_view script(reinterpret_cast<const char*>(data) + kOptionBytes,
                                size - kOptionBytes);
  const std::string transcript = Transcript(options, script, options.piece_bytes());
  if (options.compared() && transcript != Transcript(options, script, 1)) std::abort();
  return 0;
}
