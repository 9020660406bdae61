// writer <command> <arguments> ...: does to files what the test says, one command after the other.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::exit(1);
}

int Open(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC, 0640);
  Check(fd >= 0, path);
  return fd;
}

void Write(const char* path, int flags, const std::string& text) {
  const int fd = Open(path, O_WRONLY | O_CREAT | flags);
  Check(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
  Check(close(fd) == 0, "close");
}

void Sync(const char* path, int flags) {
  const int fd = Open(path, flags);
  Check(fsync(fd) == 0, "fsync");
  close(fd);
}

// `argument` is the next command's first; returns how many it took.
int Do(const std::string& command, char** argument) {
  if (command == "write") return Write(argument[0], O_TRUNC, argument[1]), 2;
  if (command == "append") return Write(argument[0], O_APPEND, argument[1]), 2;
  if (command == "fill") return Write(argument[0], O_TRUNC, std::string(atoi(argument[1]), 'x')), 2;
  if (command == "dsync") return Write(argument[0], O_DSYNC, argument[1]), 2;
  if (command == "sync") return Sync(argument[0], O_RDWR), 1;
  if (command == "syncdir") return Sync(argument[0], O_RDONLY | O_DIRECTORY), 1;
  if (command == "closeall") return Check(close_range(3, ~0U, 0) == 0, "close_range"), 0;
  if (command == "syncall") return sync(), 0;
  if (command == "rename") return Check(rename(argument[0], argument[1]) == 0, "rename"), 2;
  if (command == "link") return Check(link(argument[0], argument[1]) == 0, "link"), 2;
  if (command == "unlink") return Check(unlink(argument[0]) == 0, "unlink"), 1;
  if (command == "mkdir") return Check(mkdir(argument[0], 0750) == 0, "mkdir"), 1;
  if (command == "pwritev") {
    const int fd = Open(argument[0], O_WRONLY | O_CREAT);
    iovec slices[2] = {{argument[2], strlen(argument[2])}, {argument[3], strlen(argument[3])}};
    Check(pwritev(fd, slices, 2, atoi(argument[1])) > 0, "pwritev");
    close(fd);
    return 4;
  }
  if (command == "map") {
    const int fd = Open(argument[0], O_RDWR | O_CREAT);
    Check(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "mmap");
    return 1;
  }
  if (command == "say") {
    Check(write(1, argument[0], strlen(argument[0])) > 0, "say");
    return 1;
  }
  if (command == "child") {  // the next command is another process's; its status is what it took
    const pid_t child = fork();
    if (child == 0) std::_Exit(Do(argument[0], argument + 1));
    int status = 0;
    Check(waitpid(child, &status, 0) == child && WIFEXITED(status), "child");
    return 1 + WEXITSTATUS(status);
  }
  std::fprintf(stderr, "writer: %s?\n", command.c_str());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc;) i += 1 + Do(argv[i], argv + i + 1);
  return 0;
}
