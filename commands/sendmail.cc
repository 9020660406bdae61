#include "commands/sendmail.h"

#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "commands/postalias.h"
#include "commands/postfix.h"
#include "commands/postqueue.h"
#include "commands/sendmail_options.h"
#include "commands/sendmail_postdrop.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

// postqueue's arguments; empty: it is no matter of the queue.
std::vector<std::string> PostqueueArguments(const SendmailRequest& request) {
  std::vector<std::string> arguments;
  if (request.mode == SendmailMode::kList) {
    arguments = {"-p"};
  } else if (request.mode == SendmailMode::kFlush) {
    arguments = {"-f"};
  } else if (request.mode == SendmailMode::kSubmit && !request.site.empty()) {
    arguments = {"-s", request.site};
  } else if (request.mode == SendmailMode::kSubmit && !request.queue_id.empty()) {
    arguments = {"-i", request.queue_id};
  } else {
    return arguments;
  }
  // One -v asks for a report of the delivery that does not take place.
  const bool is_report = request.mode == SendmailMode::kSubmit && request.verbose == 1;
  if (!is_report) arguments.insert(arguments.end(), static_cast<size_t>(request.verbose), "-v");
  return arguments;
}

// Mail is the other program's.
int Submit(const Invocation& call, Console& console) {
  const std::string path = Beside("sendmail");
  std::vector<std::string> words = {call.program};
  words.insert(words.end(), call.arguments.begin(), call.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  setenv("MAIL_CONFIG", call.config_directory.c_str(), 1);
  execv(path.c_str(), arguments.data());
  return console.Fatal(Concat("unable to execute ", path, ": ", std::string_view(strerror(errno))));
}

int Run(const Invocation& call, SendmailMode mode, const Streams& streams) {
  Console console(call.program, EX_TEMPFAIL, streams);
  Console missing(call.program, EX_UNAVAILABLE, streams);
  SendmailRequest request;
  const absl::Status read = ReadSendmailArguments(call.arguments, mode, &request);
  if (!read.ok()) {
    for (const std::string& warning : request.warnings) console.Warn(warning);
    return request.is_usage ? console.Usage(Concat(call.program, " [options]"), read)
                            : console.Fatal(read);
  }
  Invocation postqueue = {"postqueue", call.config_directory, PostqueueArguments(request)};
  if (!request.config_directory.empty()) postqueue.config_directory = request.config_directory;
  if (!postqueue.arguments.empty()) return RunPostqueue(postqueue, streams);
  switch (request.mode) {
    case SendmailMode::kNothing:
      return EX_OK;
    case SendmailMode::kDaemon:
      return RunPostfix({"postfix", postqueue.config_directory, {"start"}}, streams);
    case SendmailMode::kAliases:
      return RunNewaliases({"newaliases", postqueue.config_directory, {}}, streams);
    default:
      return Submit(call, missing);
  }
}

}  // namespace

int RunSendmail(const Invocation& call, const Streams& streams) {
  return Run(call, SendmailMode::kSubmit, streams);
}

int RunMailq(const Invocation& call, const Streams& streams) {
  return Run(call, SendmailMode::kList, streams);
}

}  // namespace postfleet::commands
