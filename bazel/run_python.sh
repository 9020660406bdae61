#!/bin/sh
# Runs one script of the tree: a sh_test needs no Python toolchain of Bazel's.
exec python3 -B "$@"
