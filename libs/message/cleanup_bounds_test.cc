// Hostile content costs cleanup and downgrade no more than its length, and next to no memory: what
// is held is counted by the allocator, work by the processor time of n and 4 n bytes.
#include <gtest/gtest.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>

#include "libs/message/cleanup.h"
#include "libs/message/downgrade.h"

namespace {

size_t held_bytes = 0;
size_t held_bytes_peak = 0;

void* Count(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  held_bytes += malloc_usable_size(memory);
  held_bytes_peak = std::max(held_bytes_peak, held_bytes);
  return memory;
}

void Discount(void* memory) {
  if (memory != nullptr) held_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return Count(std::malloc(size)); }
void operator delete(void* memory) noexcept { Discount(memory); }
void operator delete(void* memory, size_t) noexcept { Discount(memory); }

namespace postfleet::message {
namespace {

constexpr size_t kPieceBytes = 4096;  // as the server reads

// Content that is made while it is read: `next(i)` is its i-th line, or piece of a line.
struct Hostile {
  std::string name;
  size_t pieces = 0;
  std::function<void(size_t, std::string*)> next;
};

std::vector<Hostile> Contents() {
  const auto same = [](std::string first, std::string text) {
    return [first, text](size_t i, std::string* out) { out->append(i == 0 ? first : text); };
  };
  const std::string kilobyte(1024, 'x');
  return {
      {"100,000 fields", 100'000, same("", "X-Field: value\n")},
      {"100,000 continuations", 100'000, same("X:", " value\n")},
      {"100,000 ids", 100'000, same("", "Message-Id: <a@b>\n")},
      {"a field of 100 MB", 100'000, same("Subject: ", kilobyte)},
      {"a first line of 100 MB", 100'000, same("x x", kilobyte)},
      {"a body line of 100 MB", 100'000, same("A: b\n\n", kilobyte)},
      {"a line of 100 MB in a part", 100'000,
       same("Content-Type: multipart/mixed; boundary=b\n\n--b\nA:", kilobyte)},
      {"1,000,000 parts", 1'000'000,
       same("Content-Type: multipart/mixed; boundary=b\n\n", "--b\nA : b\n\nx\n")},
      {"1,000,000 parts that end nothing", 1'000'000,
       same("Content-Type: multipart/mixed; boundary=b\n\n", "--b\n")},
      {"10,000 levels", 10'000,
       [](size_t i, std::string* out) {
         const std::string name = std::to_string(i);
         *out += "Content-Type: multipart/mixed; boundary=" + name + "\n\n--" + name + "\n";
       }},
      {"10,000 messages in messages", 10'000, same("", "Content-Type: message/rfc822\n\n")},
      {"levels that all lines nearly end", 50'000,
       [](size_t i, std::string* out) {
         const std::string stem(1000, 'b');
         if (i < 100) {
           *out += "Content-Type: multipart/mixed; boundary=" + stem + std::to_string(i + 1000) +
                   "\n\n--" + stem + std::to_string(i + 1000) + "\n";
         } else {
           *out += "--" + stem + "x\n";
         }
       }},
      {"addresses of 50 MB", 2'500'000, same("To: ", "user@peer.example, \n ")},
      {"broken addresses of 50 MB", 2'500'000, same("To: ", "(<\"user, :;@@[x\n ")},
      {"a boundary of 1 MB", 1024, same("Content-Type: multipart/mixed; boundary=", kilobyte)},
      {"parameters of 50 MB", 1'000'000,
       same("Content-Type: multipart/mixed", "; boundary=\"a b\"(x)\n ")},
      {"comments of 50 MB", 1'000'000, same("Content-Type: ", "((((((((\\)\"))))\n ")},
      {"CRs of 10 MB", 10'000, same("A: b\n", std::string(1024, '\r'))},
      {"NULs of 10 MB", 10'000, same("A: b", std::string(1024, '\0'))},
  };
}

const AddressRewriting kRewriting = {.origin = "origin.example", .domain = "example"};

CleanupOptions Strict() {
  CleanupOptions options;
  options.rewriting = &kRewriting;
  options.missing = MissingFields{.queue_id = "4jXID", .myhostname = "mta", .sender = "a@b"};
  options.refuse_header_8bit = options.refuse_body_8bit = options.refuse_encoding_domain = true;
  options.strip_bytes = "\x01";
  options.reject_bytes = "\x02";
  return options;
}

// Feeds it in pieces as the server does; the output is thrown away.
template <typename Reader>
void Run(const Hostile& hostile, size_t pieces, Reader read) {
  std::string in;
  for (size_t i = 0; i < pieces; ++i) {
    hostile.next(i, &in);
    if (in.size() < kPieceBytes && i + 1 < pieces) continue;
    read(in);
    in.clear();
  }
}

void CleanUp(const Hostile& hostile, size_t pieces, const CleanupOptions& options) {
  Cleanup cleanup(options, "Received: x\n");
  std::string out;
  Run(hostile, pieces, [&](std::string_view in) {
    cleanup.Append(in, &out);
    out.clear();
  });
  cleanup.Finish(&out);
}

void Convert(const Hostile& hostile, size_t pieces) {
  Downgrade downgrade;
  std::string out;
  Run(hostile, pieces, [&](std::string_view in) {
    downgrade.Take(in, &out);
    out.clear();
  });
  downgrade.Finish(&out);
}

size_t PeakOf(const std::function<void()>& work) {
  const size_t before = held_bytes;
  held_bytes_peak = before;
  work();
  return held_bytes_peak - before;
}

double CpuSeconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  };
  const double start = now();
  work();
  return now() - start;
}

// header_size_limit, and what its rewriting makes of it: some 50,000 words.
constexpr size_t kHeldBytesMax = 12 << 20;

TEST(Bounds, CleanupHoldsAFieldAndALine) {
  for (const Hostile& hostile : Contents()) {
    EXPECT_LT(PeakOf([&] { CleanUp(hostile, hostile.pieces, {}); }), 1u << 20) << hostile.name;
    EXPECT_LT(PeakOf([&] { CleanUp(hostile, hostile.pieces, Strict()); }), kHeldBytesMax)
        << hostile.name;
  }
}

TEST(Bounds, DowngradeHoldsAFieldAndALine) {
  for (const Hostile& hostile : Contents()) {
    EXPECT_LT(PeakOf([&] { Convert(hostile, hostile.pieces); }), 1u << 20) << hostile.name;
  }
}

// Four times as much takes four times as long, or less; were it more than linear, sixteen times.
TEST(Bounds, WorkIsLinear) {
  CleanupOptions large = Strict();
  large.header_bytes_max = 1 << 30;
  for (const Hostile& hostile : Contents()) {
    const size_t n = hostile.pieces / 8;
    double ratio = 100;
    for (int attempt = 0; attempt < 3 && ratio > 8; ++attempt) {
      const double once = CpuSeconds([&] { CleanUp(hostile, n, large); });
      ratio = std::min(ratio, CpuSeconds([&] { CleanUp(hostile, 4 * n, large); }) / once);
    }
    EXPECT_LT(ratio, 8) << hostile.name;
  }
}

}  // namespace
}  // namespace postfleet::message
