#include "libs/base/log_sink.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>

namespace postfleet::maillog {
namespace {

const auto kNever = [] { return false; };

// A syslogd that was started at `path`.
class Syslogd {
 public:
  explicit Syslogd(const std::string& path) : path_(path), fd_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    unlink(path.c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Syslogd() {
    close(fd_);
    unlink(path_.c_str());
  }

  std::string Next() {
    char datagram[4096];
    const ssize_t size = recv(fd_, datagram, sizeof(datagram), MSG_DONTWAIT);
    return size < 0 ? "none" : std::string(datagram, static_cast<size_t>(size));
  }

 private:
  const std::string path_;
  const int fd_;
};

// Not in TempDir(), whose name may be longer than a socket's may (107 bytes).
std::string SocketPath() { return "/tmp/log-sink-test." + std::to_string(getpid()); }

TEST(LogSink, SyslogGetsADatagramForEachLine) {
  Syslogd syslogd(SocketPath());
  LogSink sink = LogSink::OfSyslog(SocketPath());
  EXPECT_EQ(sink.Write("<22>one\n<20>two\n", kNever), "");
  EXPECT_EQ(syslogd.Next(), "<22>one");
  EXPECT_EQ(syslogd.Next(), "<20>two");
}

TEST(LogSink, ARestartedSyslogdGetsTheNextLine) {
  auto first = std::make_unique<Syslogd>(SocketPath());
  LogSink sink = LogSink::OfSyslog(SocketPath());
  sink.Write("<22>one\n", kNever);
  EXPECT_EQ(first->Next(), "<22>one");
  first.reset();
  Syslogd second(SocketPath());
  sink.Write("<22>two\n<22>three\n", kNever);
  EXPECT_EQ(second.Next(), "<22>two");
  EXPECT_EQ(second.Next(), "<22>three");
  EXPECT_EQ(sink.lost_lines(), 0u);
}

TEST(LogSink, ASyslogdThatReadsNothingHoldsUpNobodyWhoWantsToEnd) {
  Syslogd stuck(SocketPath());
  LogSink sink = LogSink::OfSyslog(SocketPath());
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += "<22>line\n";
  const std::string_view rest = sink.Write(lines, [] { return true; });
  EXPECT_FALSE(rest.empty());
  EXPECT_LT(rest.size(), lines.size());
  EXPECT_TRUE(rest.starts_with("<22>line\n"));
}

TEST(LogSink, AFullPipeIsLeftWhenAskedAndGoesOnWhereItStopped) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_GT(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
  LogSink sink = LogSink::OfDescriptor(ends[1]);
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += std::to_string(i) + "\n";
  std::string_view rest = sink.Write(lines, [] { return true; });
  std::string read_back;
  while (!rest.empty()) {
    char bytes[8192];
    const ssize_t size = read(ends[0], bytes, sizeof(bytes));
    ASSERT_GT(size, 0);
    read_back.append(bytes, static_cast<size_t>(size));
    rest = sink.Write(rest, [] { return true; });
  }
  char bytes[8192];
  read_back.append(bytes, static_cast<size_t>(read(ends[0], bytes, sizeof(bytes))));
  EXPECT_EQ(read_back, lines);
  close(ends[0]);
}

TEST(LogSink, LinesThatNobodyTookAreCounted) {
  LogSink sink = LogSink::OfDescriptor(open("/dev/full", O_WRONLY | O_CLOEXEC));
  const int error_output = dup(STDERR_FILENO);
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  dup2(full, STDERR_FILENO);
  sink.Write("one\ntwo\n", kNever);
  dup2(error_output, STDERR_FILENO);
  EXPECT_EQ(sink.lost_lines(), 2u);
  close(full);
  close(error_output);
}

}  // namespace
}  // namespace postfleet::maillog
