// sendmail, the program that mail programs, cron and scripts call: a small one of its own, which
// reads the message, has postdrop put it into maildrop, and needs nothing that runs.
//
// What has to do with the queue, the server or aliases (-bp, -q, -bd, -bi, ...) is `postfleet`'s,
// which lies beside it.

#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "commands/console.h"
#include "commands/postdrop.h"
#include "commands/sendmail_options.h"
#include "commands/sendmail_postdrop.h"
#include "commands/sendmail_server.h"
#include "commands/sendmail_submit.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr char kHelp[] =
    "sendmail: sends the message on standard input to the recipients.\n\n"
    "usage: sendmail [options] [recipient...]\n"
    "  -t         recipients are those of the header's To, Cc and Bcc, too\n"
    "  -f SENDER  envelope sender; else the user (-r the same)\n"
    "  -F NAME    the sender's full name, for a From that is missing\n"
    "  -i         a line with a dot alone does not end the message (-oi the same)\n"
    "  -N WORDS   when the sender is told: success, failure, delay, or never\n"
    "  -R WHAT    what of the message he gets then: full or hdrs\n"
    "  -V ID      how the message is called then\n"
    "  -B TYPE    of the body: 7BIT or 8BITMIME\n"
    "  -v         a report of the delivery is mailed to the sender\n"
    "  -XV[+=]    VERP: each recipient's delivery has a sender that names him\n"
    "  -G         the message is passed on for somebody else: addresses are left alone\n"
    "  -C DIR     folder of main.cf; else $MAIL_CONFIG, else /etc/postfix\n"
    "  -bs        SMTP on standard input and output\n"
    "  -bp -q -qIID -qRSITE -bd -bi -I\n"
    "             queue, server and aliases: see postqueue, postfix and newaliases\n"
    "Other options of Sendmail that Postfix ignores are ignored.\n\n"
    "Exit status 0: the mail is on disk, and will be delivered. Else it is not sent.\n";

SendmailMode ModeOf(std::string_view program) {
  if (program == "mailq") return SendmailMode::kList;
  if (program == "newaliases") return SendmailMode::kAliases;
  return SendmailMode::kSubmit;
}

int RunPostfleet(std::string program, const std::vector<std::string>& given, Console& console) {
  const std::string path = Beside("postfleet");
  std::vector<std::string> words = {std::move(program)};
  words.insert(words.end(), given.begin(), given.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execv(path.c_str(), arguments.data());
  console.Fatal(Concat("unable to execute ", path, ": ", std::string_view(strerror(errno))));
  return EX_UNAVAILABLE;
}

std::string DirectoryOf(const SendmailRequest& request) {
  const char* from_environment = std::getenv("MAIL_CONFIG");
  const std::string directory = !request.config_directory.empty() ? request.config_directory
                                : from_environment != nullptr     ? from_environment
                                                                  : "/etc/postfix";
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(directory, error).string();
  return error ? directory : absolute;
}

int Run(int argc, char** argv) {
  const std::string called = argc > 0 ? argv[0] : "sendmail";
  const std::string name = called.substr(called.rfind('/') + 1);
  const std::string program = name == "mailq" || name == "newaliases" ? name : "sendmail";
  const std::vector<std::string> given(argv + (argc > 0 ? 1 : 0), argv + argc);
  OpenStandardDescriptors();
  // A postdrop that has gone is seen by its exit status.
  signal(SIGPIPE, SIG_IGN);
  Console console(program, EX_TEMPFAIL, {});
  SendmailRequest request;
  const absl::Status read = ReadSendmailArguments(given, ModeOf(program), &request);
  for (const std::string& warning : request.warnings) console.Warn(warning);
  if (!read.ok()) {
    return request.is_usage ? console.Usage(Concat(program, " [options]"), read)
                            : console.Fatal(read);
  }
  const bool is_mail =
      (request.mode == SendmailMode::kSubmit && request.queue_id.empty() && request.site.empty()) ||
      request.mode == SendmailMode::kServer;
  if (request.mode == SendmailMode::kNothing) return EX_OK;
  if (!is_mail) return RunPostfleet(program, given, console);
  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      DirectoryOf(request), {"authorized_submit_users", "line_length_limit", "header_size_limit",
                             "header_address_token_limit", "sendmail_fix_line_endings",
                             "default_verp_delimiters", "verp_delimiter_filter"});
  if (!config.ok()) return console.Fatal(config.status());
  console.LogTo(*config, "sendmail");
  if (request.mode == SendmailMode::kServer) return ServeStandardInput(*config, console);
  return SubmitMail(request, *config, STDIN_FILENO, console);
}

}  // namespace
}  // namespace postfleet::commands

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::fputs(postfleet::commands::kHelp, stdout);
    return 0;
  }
  return postfleet::commands::Run(argc, argv);
}
