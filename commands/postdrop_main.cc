// postdrop, the set-group-id program that puts mail into maildrop (postdrop.h).

#include <cstdio>
#include <string_view>

#include "commands/postdrop.h"

namespace {

constexpr char kHelp[] =
    "postdrop: puts a mail that comes on standard input, as sendmail makes it, into maildrop.\n\n"
    "usage: postdrop [-c DIR] [-r] [-v]\n"
    "  -c DIR   folder of main.cf; else $MAIL_CONFIG, else /etc/postfix. Other folders than\n"
    "           /etc/postfix must be named there, in alternate_config_directories\n"
    "  -r, -v   change nothing\n\n"
    "Users call sendmail, which calls this.\n";

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::fputs(kHelp, stdout);
    return 0;
  }
  return postfleet::commands::RunPostdrop({argv + (argc > 0 ? 1 : 0), argv + argc});
}
