// A program with malloc = "@system//:jemalloc" really allocates from jemalloc.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>

namespace postfleet {
namespace {

TEST(Jemalloc, ProvidesMallocToThePrograms) {
#ifdef SANITIZED
  GTEST_SKIP() << "sanitizers bring a malloc of their own";
#endif
  Dl_info owner{};
  ASSERT_NE(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &owner), 0);
  EXPECT_NE(std::strstr(owner.dli_fname, "libjemalloc"), nullptr) << owner.dli_fname;
}

}  // namespace
}  // namespace postfleet
