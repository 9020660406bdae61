#!/bin/bash
# usage: archive.sh ARCHIVE HEADER SOURCE.go...
# Compiles the Go half of the sequencer, with Debian's etcd, to an archive for C and its header.
# Its constructor, which starts Go's threads, gets priority 200: between those of load.cc.
set -euo pipefail

archive="$(realpath -m "$1")"
header="$(realpath -m "$2")"
shift 2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
package=postfleet/sequencer
mkdir -p "$work/src/$package"
cp -L "$@" "$work/src/$package"

# Go runs beside Bazel's other actions: two threads are enough.
(cd "$work" && env -i PATH=/usr/bin:/bin HOME="$work" GO111MODULE=off GOPATH="$work:/usr/share/gocode" \
  GOCACHE="$work/cache" GOFLAGS=-trimpath GOTOOLCHAIN=local CGO_CFLAGS="-O2 -g1" \
  go build -p 2 -buildmode=c-archive -o sequencer.a "$package")
objcopy --rename-section .init_array=.init_array.00200 "$work/sequencer.a" "$archive"
cp "$work/sequencer.h" "$header"
