// One call into each library of @system that the smoke test does not use: a
// wrong linkopt or define fails here, by the library's name.

#include <benchmark/benchmark.h>
#include <db.h>
#include <gtest/gtest.h>
#include <idn2.h>
#include <lmdb.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pcre2.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unbound.h>
#include <zlib.h>

#include <array>
#include <asio.hpp>
#include <memory>
#include <sstream>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/hash/hash.h"
#include "absl/random/random.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

ABSL_FLAG(int, libraries_test_count, 3, "a flag with a default");

namespace postfleet {
namespace {

TEST(Absl, HashMapCordFormatTimeAndMutexLink) {
  absl::flat_hash_map<std::string, absl::Cord> cords;
  cords["a"].Append(absl::StrFormat("%d-%s", 7, absl::FormatDuration(absl::Seconds(90))));
  absl::Mutex mutex;
  absl::MutexLock lock(&mutex);
  EXPECT_EQ(std::string(cords["a"]), "7-1m30s");
  EXPECT_NE(absl::HashOf(1), absl::HashOf(2));
}

TEST(Absl, FlagsParse) {
  std::array<char*, 2> argv = {const_cast<char*>("test"),
                               const_cast<char*>("--libraries_test_count=9")};
  absl::ParseCommandLine(argv.size(), argv.data());
  EXPECT_EQ(absl::GetFlag(FLAGS_libraries_test_count), 9);
}

TEST(Absl, RandomStaysInItsRange) {
  absl::BitGen random;
  EXPECT_LT(absl::Uniform(random, 0, 10), 10);
}

TEST(Asio, PostedWorkRuns) {
  asio::io_context context;
  int runs = 0;
  asio::post(context, [&] { ++runs; });
  context.run();
  EXPECT_EQ(runs, 1);
}

TEST(OpenSsl, DigestsAndMakesContexts) {
  std::array<unsigned char, 32> digest;
  unsigned length = 0;
  ASSERT_EQ(EVP_Digest("abc", 3, digest.data(), &length, EVP_sha256(), nullptr), 1);
  EXPECT_EQ(length, 32u);
  EXPECT_EQ(digest[0], 0xba);  // FIPS 180-2, B.1
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                  &SSL_CTX_free);
  EXPECT_NE(context, nullptr);
}

TEST(Pcre2, CompilesWithJitAndMatches) {
  int error = 0;
  size_t offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>("a+b"), PCRE2_ZERO_TERMINATED, 0,
                                   &error, &offset, nullptr);
  ASSERT_NE(code, nullptr);
  EXPECT_EQ(pcre2_jit_compile(code, PCRE2_JIT_COMPLETE), 0);
  pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
  EXPECT_EQ(pcre2_match(code, reinterpret_cast<PCRE2_SPTR>("caab"), 4, 0, 0, match, nullptr), 1);
  pcre2_match_data_free(match);
  pcre2_code_free(code);
}

TEST(Prometheus, SerializesACounter) {
  prometheus::Registry registry;
  prometheus::BuildCounter().Name("mail_total").Help("h").Register(registry).Add({}).Increment(2);
  EXPECT_NE(prometheus::TextSerializer().Serialize(registry.Collect()).find("mail_total 2"),
            std::string::npos);
}

TEST(Spdlog, WritesALine) {
  std::ostringstream out;
  spdlog::logger logger("mail", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger.set_pattern("%v");
  logger.info("{}: removed", "4XyZ");
  EXPECT_EQ(out.str(), "4XyZ: removed\n");
}

TEST(Idn2, ConvertsToALabels) {
  char* ascii = nullptr;
  ASSERT_EQ(idn2_to_ascii_8z("b\xc3\xbc"
                             "cher.example",
                             &ascii, IDN2_NONTRANSITIONAL),
            IDN2_OK);
  EXPECT_STREQ(ascii, "xn--bcher-kva.example");
  idn2_free(ascii);
}

TEST(TableLibraries, Answer) {
  int major = 0;
  mdb_version(&major, nullptr, nullptr);
  EXPECT_EQ(major, MDB_VERSION_MAJOR);
  db_version(&major, nullptr, nullptr);
  EXPECT_EQ(major, DB_VERSION_MAJOR);
}

TEST(SmallLibraries, Answer) {
  EXPECT_EQ(crc32(0, reinterpret_cast<const Bytef*>("123456789"), 9), 0xcbf43926u);
  EXPECT_EQ(std::string(ub_version()).rfind(absl::StrCat(UNBOUND_VERSION_MAJOR, "."), 0), 0u);
  int runs = 0;
  benchmark::RegisterBenchmark("three", [&](benchmark::State& state) {
    for (auto _ : state) ++runs;
  })->Iterations(3);
  EXPECT_EQ(benchmark::RunSpecifiedBenchmarks(), 1u);
  EXPECT_EQ(runs, 3);
}

}  // namespace
}  // namespace postfleet
