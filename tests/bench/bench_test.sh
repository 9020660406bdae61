#!/bin/sh
# A sh_test needs no Python toolchain of Bazel's.
exec python3 -B tests/bench/bench_test.py
