package main

import (
	"math/rand"
	"sync"
	"unsafe"

	_ "go.etcd.io/etcd/raft"
)

// raftRandomness is raft's own variable, which it keeps to itself: all election timeouts come from it.
//
//go:linkname raftRandomness go.etcd.io/etcd/raft.globalRand
var raftRandomness unsafe.Pointer

// lockedSource is laid out as what it points to.
type lockedSource struct {
	mutex  sync.Mutex
	source *rand.Rand
}

func seedRandomness(seed uint64) {
	random := (*lockedSource)(raftRandomness)
	random.mutex.Lock()
	random.source = rand.New(rand.NewSource(int64(seed)))
	random.mutex.Unlock()
}
