// One SMTP session of the server (RFC 5321; smtpd(8) and cleanup(8) of Postfix 3.9), without I/O.
//
// Events come in by the On functions; what is owed goes into Actions, to be done in the order of
// its fields. A session that waits (for an answer of lookup or queue, or for an error's delay)
// executes no further command: what the client sent ahead is kept, at most what one OnBytes
// brought. The caller stops reading while WantsInput() is false.
//
// A message's content is bounded: it goes out in chunks of SessionConfig::chunk_bytes, at most
// kUnacknowledgedChunksMax of them unanswered. The client gets its 250 only after the queue said
// COMMITTED.
//
// Not thread-safe; everything on one loop. Costs: no allocation for a line that lies in one read.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/log_line.h"
#include "libs/message/cleanup.h"
#include "libs/message/received.h"
#include "libs/smtp/client_attributes.h"
#include "libs/smtp/command.h"
#include "libs/smtp/data_reader.h"
#include "libs/smtp/ehlo_keywords.h"
#include "libs/smtp/line_reader.h"
#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/ingress/core/client_rates.h"
#include "services/ingress/core/command_counts.h"
#include "services/ingress/core/restrictions.h"
#include "services/ingress/core/session_config.h"
#include "services/ingress/core/session_transcript.h"

namespace postfleet::ingress {

// What is known of a client when it connects.
struct ConnectionFacts {
  std::string name = "unknown";
  std::string address;           // "192.0.2.1", "2001:db8::1"
  std::string port = "unknown";  // "25041"
  Membership mynetworks = Membership::kNo;
  bool bare_newline_excluded = false;
  // Null: nothing limits this client.
  std::shared_ptr<ClientVisit> visit;
  // Bytes that came before the banner, for smtpd_forbid_unauth_pipelining; at most 100.
  std::string early_bytes;
  // smtpd_authorized_xclient_hosts, smtpd_authorized_xforward_hosts,
  // smtpd_authorized_verp_clients.
  bool may_xclient = false;
  bool may_xforward = false;
  bool may_verp = false;
  // Behind XCLIENT: asks the lists again, by name and address, and gives the client its own place
  // in the counts; null: there are none.
  std::function<void(ConnectionFacts*)> recognize;
};

// What a session asks while it decides.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual int64_t WallMillis() = 0;
  virtual message::MailTime MailTimeAt(int64_t wall_ms) = 0;
  // False: the stream to the queue is lost, what is submitted now waits for its return.
  virtual bool QueueIsThere() = 0;
  // A new queue id; empty: the queue was not reached yet.
  virtual std::string NextQueueId() = 0;
  virtual bool DiskNearlyFull() = 0;
  // Mail comes faster than it goes out.
  virtual bool QueueIsBehind() = 0;
  // All sessions together buffer as much as they may.
  virtual bool BuffersFull() = 0;
};

enum class LogProgram { kSmtpd, kCleanup };

struct LogLine {
  LogProgram program;
  maillog::Line text;
};

// A refusal, for the counters.
enum class RejectReason {
  kAccess,
  kRelay,
  kUnlisted,
  kSize,
  kSpace,
  kLimit,
  kLookup,
  kQueue,
  kProtocol,
  kContent
};
std::string_view RejectReasonName(RejectReason reason);
struct RejectEvent {
  std::string_view stage;  // "CONNECT", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE"
  int code = 0;
  RejectReason reason = RejectReason::kAccess;
};

struct Resolve {
  std::string recipient;
  std::string sender;
  bool check_listed = false;
};

// One step of handing a message over. `submission` lacks its id; payload fields are filled in.
struct Submit {
  queue::v1::Submission submission;
  std::string content;
};

struct Actions {
  std::vector<LogLine> log;
  std::vector<RejectEvent> rejects;
  std::vector<Submit> submits;  // in this order
  std::optional<Resolve> resolve;
  std::optional<std::string> flush;  // deferred mail of this site is to be tried now
  // To the client. While AwaitsService() it may be held back, so that pipelined replies leave
  // together.
  std::string reply;
  int64_t delay_ms = 0;   // call OnDelayOver after this time; 0: none
  bool accepted = false;  // a message got its final 250
  bool limited = false;   // the connection was refused: the client has too many
  bool close = false;     // after the reply is sent; the session is over

  void Clear();
};

class Session {
 public:
  static constexpr int kUnacknowledgedChunksMax = 2;

  // The arguments outlive the session.
  Session(const SessionConfig& config, ConnectionFacts facts, Surroundings& surroundings);
  ~Session();

  // First: the banner.
  void OnConnect(Actions* actions);
  // In place of OnConnect: queue or lookup were never reached.
  void OnNotReady(Actions* actions);
  // Only while WantsInput().
  void OnBytes(std::string_view bytes, Actions* actions);
  // The answer to Actions::resolve.
  void OnResolved(const lookup::v1::Answer& answer, Actions* actions);
  // The answer to Actions::flush.
  void OnFlushed(bool started, Actions* actions);
  // The answer to one of Actions::submits, in any order.
  // `final`: of the submission that has the message. Answers about messages that are over are
  // ignored.
  void OnEnqueued(std::string_view queue_id, bool final, queue::v1::EnqueueResult::Code code,
                  Actions* actions);
  void OnDelayOver(Actions* actions);
  // Nothing came for SessionConfig::timeout_ms. Only while WantsInput().
  void OnTimeout(Actions* actions);
  // The client went away. No reply and no close come of it.
  void OnDisconnect(Actions* actions);
  // The service stops: at once between messages, else after the current one.
  void OnShutdown(Actions* actions);

  bool WantsInput() const { return !ended_ && !Paused(); }
  bool AwaitsService() const;
  bool InData() const { return phase_ == Phase::kData || phase_ == Phase::kSkip; }
  bool ended() const { return ended_; }
  // Contents, recipients and input held here; what was submitted is the caller's.
  size_t buffered_bytes() const;
  const ConnectionFacts& facts() const { return facts_; }
  const CommandCounts& counts() const { return counts_; }
  // When the current or last MAIL command came; 0: none yet.
  int64_t mail_ms() const { return mail_ms_; }

 private:
  // kSkip: a chunk of BDAT is thrown away.
  enum class Phase { kCommand, kData, kSkip, kAwaitingAnswer, kAwaitingCommit, kOver };
  struct Transaction;
  // The current or last BDAT of a message.
  struct Chunk {
    // kFailed: what follows is thrown away, up to the last chunk or RSET.
    enum State { kNone, kOpen, kFailed } state = kNone;
    uint64_t size = 0;
    uint64_t left = 0;
    bool last = false;
    // Of a chunk that is thrown away: the answer behind it.
    int code = 0;
    std::string text;
  };
  using Handler = bool (Session::*)(const smtp::Command&, Actions*);
  struct VerbRow {
    smtp::Verb verb;
    std::string_view name;
    Handler handler;
    bool last_of_group = false;  // RFC 2920, 3.1: nothing may be sent ahead of its reply
    bool junk = false;           // counts against smtpd_junk_command_limit
  };
  static const VerbRow kVerbs[];
  // What follows the lists of a stage. A command's gives whether it was good.
  using Decided = bool (Session::*)(const std::optional<Refusal>& refusal, Actions*);
  struct StageRow {
    Stage stage;
    Restrictions SessionConfig::*list;
    // Before it, where smtpd_delay_reject holds them back: the lists of client, HELO and sender.
    bool takes_delayed = false;
  };
  static const StageRow kStages[];
  static const VerbRow* FindVerb(smtp::Verb verb);

  bool Paused() const;
  bool TooManyConnections(Actions* actions);
  // The client has sent too much in a unit of time: replied and logged.
  bool TooManyMessages(Actions* actions);
  bool TooManyRecipients(Actions* actions);
  bool RefuseRate(std::string_view what, std::string_view counted, int rate, Actions* actions);
  void Continue(std::string_view in, Actions* actions);
  void Resume(Actions* actions);
  void ReadCommand(std::string_view* in, Actions* actions);
  void Execute(std::string_view line, std::string_view rest, Actions* actions);
  bool SentAhead(const VerbRow& row, std::string_view rest, Actions* actions);

  // Commands: false counts as an error.
  bool Helo(const smtp::Command& command, Actions* actions);
  bool Ehlo(const smtp::Command& command, Actions* actions);
  bool Mail(const smtp::Command& command, Actions* actions);
  // EHLO names it to this client, if it can at all.
  bool Offers(std::string_view keyword) const;
  // Of MAIL and RCPT, by what EHLO offers.
  smtp::PathSyntax Syntax() const;
  bool Rcpt(const smtp::Command& command, Actions* actions);
  bool Data(const smtp::Command& command, Actions* actions);
  bool Bdat(const smtp::Command& command, Actions* actions);
  bool Rset(const smtp::Command& command, Actions* actions);
  bool Noop(const smtp::Command& command, Actions* actions);
  bool Vrfy(const smtp::Command& command, Actions* actions);
  bool Etrn(const smtp::Command& command, Actions* actions);
  bool Help(const smtp::Command& command, Actions* actions);
  bool Quit(const smtp::Command& command, Actions* actions);
  bool Auth(const smtp::Command& command, Actions* actions);
  bool Xclient(const smtp::Command& command, Actions* actions);
  bool Xforward(const smtp::Command& command, Actions* actions);
  bool NotImplemented(const smtp::Command& command, Actions* actions);

  // What the tables of CommandRules say. A table that cannot be asked is warned of; where a wrong
  // guess would do harm, the session ends with a 421.
  void FindKeywords(Actions* actions);
  bool Filter(std::string_view line, std::optional<std::string>* replacement, Actions* actions);
  bool IsNoop(std::string_view word, Actions* actions);
  bool IsForbidden(std::string_view word, Actions* actions);
  // Always false.
  bool EndForTables(std::string_view stage, Actions* actions);
  void Warn(const absl::Status& status, Actions* actions);
  // Behind the last line of `reply`, which begins at `start`.
  void AppendFooter(size_t start, std::string* reply, Actions* actions);

  // The message gets its queue id.
  bool OpenMessage(std::string_view stage, Actions* actions);
  bool AskLookup(smtp::Verb verb, Actions* actions);

  // Tries the lists of a stage (smtpd_*_restrictions), then `decided`, which may be later:
  // JudgingWaits() until then. What `decided` gave; true while it waits.
  bool Judge(Stage stage, std::string subject, Decided decided, Actions* actions);
  bool ContinueJudging(Actions* actions);
  bool JudgingWaits() const { return judging_ != nullptr; }
  std::vector<StageCheck> ChecksAt(Stage stage, std::string subject) const;
  bool ConnectDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool HeloDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool EhloDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool MailDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool RcptDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool VrfyDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool DataDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool BdatDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool EtrnDecided(const std::optional<Refusal>& refusal, Actions* actions);
  bool EndOfDataDecided(const std::optional<Refusal>& refusal, Actions* actions);
  // HELO or EHLO was refused.
  bool RefuseGreeting(const Refusal& refusal, Actions* actions);
  // A recipient that no list refused, by what lookup says of it.
  std::optional<Refusal> CheckListed() const;

  bool JudgeRecipient(Actions* actions);
  bool AcceptRecipient(Actions* actions);
  void Greet(const smtp::Command& command, bool esmtp);

  bool BeginChunks(Actions* actions);
  bool ReadChunk(Actions* actions);
  void EndOfChunk(Actions* actions);
  bool SkipChunk(int code, std::string text, Actions* actions);
  void SkipData(std::string_view* in, Actions* actions);
  void EndOfSkip(Actions* actions);
  void FailChunks(Actions* actions);

  void BeginData(smtp::DataReader::Framing framing);
  void ReadData(std::string_view* in, Actions* actions);
  size_t TakeContent(std::string_view in, Actions* actions);
  void FinishContent();
  void LogNotes(Actions* actions);
  void SubmitChunk(Actions* actions);
  void EndOfData(Actions* actions);
  // What is wrong with the content itself: replied.
  bool RefuseBareNewline(Actions* actions);
  // Of a bare newline that was refused.
  void EndIfCodeSaysSo(Actions* actions);
  bool RefuseContent(Actions* actions);
  bool TooBig() const;
  // The transaction ends with the reply that was given.
  void EndRefused(Actions* actions);
  void SubmitMessage(Actions* actions);
  void OnChunkEnqueued(queue::v1::EnqueueResult::Code code, Actions* actions);
  void AnswerMessage(queue::v1::EnqueueResult::Code code, Actions* actions);
  void ReplyFailure(queue::v1::EnqueueResult::Code code, Actions* actions);
  void DropTransaction(Actions* actions);
  void Abandon(Actions* actions);

  // `lines_before` are complete lines of the same reply.
  void Reply(int code, std::string_view text, Actions* actions, std::string_view lines_before = {});
  // An error of protocol: replied, not logged. Always false.
  bool Fail(int code, std::string_view text, Actions* actions);
  // There is no queue to take the message.
  bool FailForQueue(std::string_view stage, Actions* actions);
  void LogBadAddress(smtp::Verb verb, std::string_view address, Actions* actions);
  bool FailParsing(const smtp::Reply& reply, const smtp::Command& command, Actions* actions);
  // A refusal of policy: replied and logged ("reject: RCPT from ..."). Always false.
  bool Refuse(std::string_view stage, RejectReason reason, int code, std::string_view text,
              Actions* actions);
  bool Refuse(std::string_view stage, const Refusal& refusal, Actions* actions);
  // For the counters and, where it is an error that a postmaster may want to know of, the
  // transcript.
  void CountReject(Actions* actions, RejectEvent event);
  // The postmaster is told of the session so far, if there is reason; the transcript begins anew.
  void EndTranscript(std::string_view reason, Actions* actions);
  // The same without the reply.
  void NoteRefusal(std::string_view stage, RejectReason reason, int code, std::string_view text,
                   Actions* actions);
  // `code` 0: none was replied yet.
  void LogReject(std::string_view stage, int code, std::string_view what, Actions* actions);
  // `reason`: "lost connection", "timeout", "too many errors", or empty for an orderly end.
  void End(std::string_view reason, Actions* actions);
  void Log(LogProgram program, maillog::Line text, Actions* actions);
  absl::StatusOr<bool> HeadersAreLocal() const;
  message::CleanupOptions MakeCleanupOptions() const;
  // The time that judging waited for has passed.
  void OnJudgingTime(Actions* actions);
  // What lookup was asked for is over.
  void FinishAsked(bool good, Actions* actions);
  void FinishUnlessItGoesOn(smtp::Verb verb, bool good, Actions* actions);
  // client_, of facts_.
  void NameClient();
  // Whether XCLIENT or XFORWARD may come now; else it is answered.
  bool MayForward(bool allowed, const smtp::Command& command, Actions* actions);
  // Behind client=: ", sasl_username=NAME" by XCLIENT, ", orig_client=NAME[ADDR]" by XFORWARD.
  maillog::Line ClientNote() const;
  smtp::AttributeSyntax ForwardingSyntax() const;
  bool NormalizesLines() const {
    return config_.bare_newline != smtp::BareNewline::kNo && !facts_.bare_newline_excluded;
  }
  void WriteOrigin(bool local_headers, mail::v1::Origin* origin) const;
  // nullopt: XFORWARD does not say.
  std::optional<bool> ForwardedIsLocal() const;
  // Counts a command that is over and the errors and junk of it.
  void FinishCommand(smtp::Verb verb, bool good, Actions* actions);

  const SessionConfig& config_;
  // Another's after XCLIENT.
  ConnectionFacts facts_;
  Surroundings& surroundings_;
  std::string client_;  // "NAME[ADDR]"
  // By XFORWARD, of the next or current message.
  smtp::ClientAttributes forwarded_;

  Phase phase_ = Phase::kCommand;
  smtp::LineReader lines_;
  std::string pending_input_;  // came ahead of what the session waits for
  std::string held_reply_;     // waits for the delay's end
  bool delaying_ = false;
  int64_t delay_owed_ms_ = 0;  // to the next reply
  bool ended_ = false;
  bool close_owed_ = false;  // ended during a delay
  bool draining_ = false;
  bool access_denied_ = false;
  bool saw_bare_lf_ = false;            // notes=bare_lf
  std::string_view where_ = "CONNECT";  // for the line about a lost connection

  std::string helo_;   // with `?` for what is special in headers
  std::string login_;  // by XCLIENT; "": nobody's
  bool esmtp_ = false;
  bool greeted_ = false;
  int errors_ = 0;
  int junk_commands_ = 0;
  int last_code_ = 0;  // of the last reply
  smtp::EhloKeywords discarded_keywords_;
  bool keywords_known_ = true;  // false: the table that says what to discard could not be asked
  CommandCounts counts_;
  smtp::Verb awaiting_verb_ = smtp::Verb::kUnknown;  // RCPT or VRFY: waits for lookup
  smtp::RcptCommand asked_;                          // its address
  std::string etrn_site_;
  // While JudgingWaits().
  std::unique_ptr<Judging> judging_;
  Decided decided_ = nullptr;
  smtp::Verb current_verb_ = smtp::Verb::kUnknown;   // whose command is executed
  const lookup::v1::Answer* answer_ = nullptr;       // about asked_, while it is judged
  std::unique_ptr<lookup::v1::Answer> kept_answer_;  // the same, while judging waits
  int64_t mail_ms_ = 0;
  std::unique_ptr<Transaction> transaction_;
  Chunk chunk_;
  SessionTranscript transcript_;
};

}  // namespace postfleet::ingress
