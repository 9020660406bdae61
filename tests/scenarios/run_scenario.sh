#!/bin/sh
# Runs one file of facts: a sh_test needs no Python toolchain of Bazel's.
exec python3 -B "$@"
