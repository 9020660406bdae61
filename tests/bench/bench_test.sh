#!/bin/sh
# A sh_test needs no Python toolchain of Bazel's.
set -e
python3 -B tests/bench/bench_test.py
exec python3 -B tests/bench/scale_test.py
