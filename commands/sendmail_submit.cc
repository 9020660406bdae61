#include "commands/sendmail_submit.h"

#include <pwd.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/ascii.h"
#include "commands/postdrop_rights.h"
#include "commands/sendmail_postdrop.h"
#include "commands/sendmail_text.h"
#include "libs/base/concat.h"
#include "libs/maildrop/record.h"

namespace postfleet::commands {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Of trace_flags.
constexpr uint32_t kProbe = 512;
constexpr uint32_t kTrace = 1024;

// As passwd(5) and mail programs have it: up to the first comma, & is the login name.
std::string FullNameOf(const passwd& user) {
  std::string name;
  for (const char* at = user.pw_gecos; at != nullptr && *at != '\0'; ++at) {
    if (std::strchr(",;%", *at) != nullptr) break;
    if (*at != '&') {
      name.push_back(*at);
      continue;
    }
    std::string login = user.pw_name;
    if (!login.empty()) {
      login[0] = absl::ascii_toupper(static_cast<unsigned char>(login[0]));
    }
    name += login;
  }
  return name;
}

class Submission {
 public:
  Submission(const SendmailRequest& request, const config::Config& config,
             std::optional<std::string> verp, Console& console)
      : request_(request), config_(config), verp_(std::move(verp)), console_(console) {
    tokens_max_ = static_cast<size_t>(config.GetInt("header_address_token_limit"));
  }

  int Run(int descriptor) {
    if (absl::Status may = CheckSubmitter(config_, getuid()); !may.ok()) return console_.Fatal(may);
    const passwd* user = getpwuid(getuid());
    if (user == nullptr && !request_.sender) {
      console_.Fatal(Concat("no login name found for user ID ", getuid()));
      return EX_OSERR;
    }
    ReadSender(user);
    const char* name = std::getenv("NAME");
    full_name_ = request_.full_name ? *request_.full_name
                 : name != nullptr  ? name
                 : user != nullptr  ? FullNameOf(*user)
                                    : "";
    if (!request_.recipients_in_header && request_.operands.empty()) {
      return Fatal(
          "Recipient addresses must be specified on the command line or via the -t option");
    }
    if (verp_ && sender_.empty()) return Fatal("-V option requires non-null sender address");
    const int status = Post(descriptor);
    if (status == EX_OK && TraceFlags() != 0) {
      console_.Write(Concat("Mail Delivery Status Report will be mailed to <", sender_, ">.\n"));
    }
    return status;
  }

 private:
  // One -v asks for a report, more for what this program does.
  uint32_t TraceFlags() const {
    return (request_.probe ? kProbe : 0) | (request_.verbose == 1 ? kTrace : 0);
  }

  // Of the sender, in whose name it is.
  int Fatal(std::string_view text) {
    return console_.Fatal(Concat(sender_, "(", getuid(), "): ", text));
  }

  void ReadSender(const passwd* user) {
    if (!request_.sender) {
      sender_ = user->pw_name;
      return;
    }
    const std::vector<std::string> addresses = ReadAddresses(*request_.sender, tokens_max_);
    if (addresses.size() > 1) {
      console_.Warn(Concat("-f option specified malformed sender: ", *request_.sender));
    }
    if (!addresses.empty()) sender_ = addresses[0];
  }

  void Add(maildrop::RecordType type, std::string_view data) {
    maildrop::AppendRecord(type, data.substr(0, maildrop::kRecordBytesMax), &records_);
  }

  void AddRecipient(const std::string& address) {
    if (request_.notify != 0) {
      Add(maildrop::kAttribute, Concat("notify_flags=", request_.notify));
    }
    Add(maildrop::kRecipient, address);
  }

  void AddEnvelope() {
    if (!request_.envelope_id.empty()) {
      Add(maildrop::kAttribute, Concat("envelope_id=", request_.envelope_id));
    }
    if (request_.dsn_return != 0) {
      Add(maildrop::kAttribute, Concat("ret_flags=", request_.dsn_return));
    }
    Add(maildrop::kAttribute, Concat("rewrite_context=", request_.is_remote ? "remote" : "local"));
    Add(maildrop::kFullName, full_name_);
    Add(maildrop::kSender, sender_);
    if (!request_.encoding.empty()) {
      Add(maildrop::kAttribute, Concat("encoding=", request_.encoding));
    }
    if (TraceFlags() != 0) Add(maildrop::kAttribute, Concat("trace_flags=", TraceFlags()));
    if (verp_) Add(maildrop::kVerp, *verp_);
    for (const std::string& operand : request_.operands) {
      std::vector<std::string> addresses = ReadAddresses(operand, tokens_max_);
      if (addresses.empty()) addresses.push_back("");
      for (const std::string& address : addresses) AddRecipient(address);
    }
    Add(maildrop::kContents, "");
  }

  SendmailTextOptions TextOptions() {
    SendmailTextOptions options = {
        .dot_ends = request_.dot_ends,
        .line_bytes_max = static_cast<size_t>(config_.GetInt("line_length_limit")),
        .recipients_in_header = request_.recipients_in_header,
        .header_bytes_max = static_cast<size_t>(config_.GetSize("header_size_limit")),
        .tokens_max = tokens_max_};
    const std::string word = config_.GetString("sendmail_fix_line_endings");
    if (!ParseLineEnds(word, &options.line_ends)) {
      console_.Warn(Concat("bad value of sendmail_fix_line_endings: ", word, "; taken as always"));
    }
    return options;
  }

  int Post(int descriptor) {
    absl::StatusOr<PostdropProcess> postdrop = PostdropProcess::Start(config_.directory());
    if (!postdrop.ok()) {
      Fatal(std::string(postdrop.status().message()));
      return EX_UNAVAILABLE;
    }
    AddEnvelope();
    const int taken = request_.probe ? AddProbe() : TakeText(descriptor, *postdrop);
    if (taken != EX_OK) return taken;
    Add(maildrop::kEnd, "");
    Flush(*postdrop);
    return Judge(postdrop->Commit());
  }

  // Nothing is read: a probe says itself what it is.
  int AddProbe() {
    Add(maildrop::kText, Concat("From: ", sender_));
    Add(maildrop::kText, "Subject: probe");
    Add(maildrop::kTextPart, "To:");
    for (size_t i = 0; i < request_.operands.size(); ++i) {
      const bool is_last = i + 1 == request_.operands.size();
      Add(maildrop::kText, Concat("\t", request_.operands[i], is_last ? "" : ","));
    }
    Add(maildrop::kExtracted, "");
    return EX_OK;
  }

  int TakeText(int descriptor, PostdropProcess& postdrop) {
    SendmailText text(TextOptions());
    char bytes[kReadBytes];
    ssize_t size = 0;
    while (!text.ended() && (size = read(descriptor, bytes, sizeof(bytes))) != 0) {
      if (size < 0 && errno == EINTR) continue;
      if (size < 0)
        return Fatal(Concat("error reading input: ", std::string_view(strerror(errno))));
      text.Take({bytes, static_cast<size_t>(size)}, &records_);
      Flush(postdrop);
    }
    text.Finish(&records_);
    if (!text.header_status().ok()) return Fatal(std::string(text.header_status().message()));
    if (request_.operands.empty() && text.recipients().empty()) {
      return Fatal("No recipient addresses found in message header");
    }
    Add(maildrop::kExtracted, "");
    for (const std::string& address : text.recipients()) AddRecipient(address);
    return EX_OK;
  }

  void Flush(PostdropProcess& postdrop) {
    postdrop.Write(records_);
    records_.clear();
  }

  int Judge(const absl::Status& status) {
    if (status.ok()) return EX_OK;
    const int exit_status = Fatal(std::string(status.message()));
    return absl::IsFailedPrecondition(status) ? EX_UNAVAILABLE : exit_status;
  }

  const SendmailRequest& request_;
  const config::Config& config_;
  const std::optional<std::string> verp_;
  Console& console_;
  size_t tokens_max_ = 0;
  std::string sender_;
  std::string full_name_;
  std::string records_;
};

// The delimiters that are asked for; nullopt: none are.
absl::StatusOr<std::optional<std::string>> ReadVerp(const SendmailRequest& request,
                                                    const config::Config& config) {
  if (!request.verp) return std::nullopt;
  const std::string filter = config.GetString("verp_delimiter_filter");
  std::string delimiters =
      request.verp->empty() ? config.GetString("default_verp_delimiters") : *request.verp;
  if (delimiters.size() != 2 || delimiters.find_first_not_of(filter) != std::string::npos) {
    return absl::InvalidArgumentError(Concat("-V requires two characters from ", filter));
  }
  return delimiters;
}

}  // namespace

int SubmitMail(const SendmailRequest& request, const config::Config& config, int descriptor,
               Console& console) {
  absl::StatusOr<std::optional<std::string>> verp = ReadVerp(request, config);
  if (!verp.ok()) return console.Fatal(verp.status());
  return Submission(request, config, *std::move(verp), console).Run(descriptor);
}

}  // namespace postfleet::commands
