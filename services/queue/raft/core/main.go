// The package is the Go half of services/queue/raft: etcd's raft core behind C functions, which only
// sequencer.cc calls. It is compiled to an archive for C.
//
// A function returns -(absl::StatusCode) and writes a text when it refuses; otherwise bits (1: a Ready
// is owed), or the number of bytes that it has to say: when that is more than the buffer holds, nothing
// was written, and it is called again with a larger one. No pointer to Go's memory leaves it, and none to
// C's is kept.
package main

// #include <stdint.h>
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"unsafe"

	pb "go.etcd.io/etcd/raft/raftpb"
)

const (
	// Go's heap beyond which its collector works harder.
	heapBytesGoal = 512 << 20
	// Garbage that may gather, in percent of what lives: a replica allocates much and keeps little.
	garbagePercent = 400
)

func init() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(garbagePercent)
	debug.SetMemoryLimit(heapBytesGoal)
}

func main() {}

var sequencers = struct {
	sync.Mutex
	byHandle map[C.uint64_t]*sequencer
	last     C.uint64_t
}{byHandle: map[C.uint64_t]*sequencer{}}

func find(handle C.uint64_t) *sequencer {
	sequencers.Lock()
	defer sequencers.Unlock()
	return sequencers.byHandle[handle]
}

// abortOnPanic: a panic is our own broken invariant. Nothing may be sent or synced after it.
func abortOnPanic() {
	if r := recover(); r != nil {
		fmt.Fprintf(os.Stderr, "raft: panic: %v\n%s", r, debug.Stack())
		C.abort()
	}
}

func bytesAt(p unsafe.Pointer, size C.size_t) []byte {
	return unsafe.Slice((*byte)(p), int(size))
}

// answer writes `bytes` if they fit, and says how many they are.
func answer(bytes []byte, out unsafe.Pointer, capacity C.size_t) C.int64_t {
	if len(bytes) > 0 && C.size_t(len(bytes)) <= capacity {
		copy(bytesAt(out, capacity), bytes)
	}
	return C.int64_t(len(bytes))
}

// refused writes the text of `r`, cut where it does not fit, and a zero behind it.
func refused(r *refusal, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	out := bytesAt(text, capacity)
	out[copy(out[:len(out)-1], r.text)] = 0
	return -C.int64_t(r.code)
}

func (s *sequencer) bits() C.int64_t {
	if s.after() {
		return 1
	}
	return 0
}

func (s *sequencer) outcome(r *refusal, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	if r != nil {
		return refused(r, text, capacity)
	}
	return s.bits()
}

//export postfleet_raft_start
func postfleet_raft_start(in unsafe.Pointer, size C.size_t, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	w := words{rest: bytesAt(in, size)}
	d := w.disk()
	if w.short {
		panic(errCutShort)
	}
	s, r := start(d)
	if r != nil {
		return refused(r, text, capacity)
	}
	sequencers.Lock()
	defer sequencers.Unlock()
	sequencers.last++
	sequencers.byHandle[sequencers.last] = s
	return C.int64_t(sequencers.last)
}

//export postfleet_raft_end
func postfleet_raft_end(handle C.uint64_t) {
	defer abortOnPanic()
	sequencers.Lock()
	defer sequencers.Unlock()
	delete(sequencers.byHandle, handle)
}

//export postfleet_raft_bits
func postfleet_raft_bits(handle C.uint64_t) C.int64_t {
	defer abortOnPanic()
	return find(handle).bits()
}

//export postfleet_raft_tick
func postfleet_raft_tick(handle C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.tick()
	return s.bits()
}

//export postfleet_raft_propose_conf_change
func postfleet_raft_propose_conf_change(handle, kind, node C.uint64_t, context unsafe.Pointer, size C.size_t, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	change := pb.ConfChange{Type: pb.ConfChangeType(kind), NodeID: uint64(node), Context: C.GoBytes(context, C.int(size))}
	return s.outcome(s.proposeConfChange(change), text, capacity)
}

//export postfleet_raft_parse_conf_change
func postfleet_raft_parse_conf_change(in unsafe.Pointer, size C.size_t, out unsafe.Pointer, capacity C.size_t, text unsafe.Pointer, textCapacity C.size_t) C.int64_t {
	defer abortOnPanic()
	change, err := parseConfChange(bytesAt(in, size))
	if err != nil {
		return refused(refuse(invalidArgument, "%v", err), text, textCapacity)
	}
	return answer(appendBytes(appendWords(nil, uint64(change.Type), change.NodeID), change.Context), out, capacity)
}

//export postfleet_raft_apply_conf_change
func postfleet_raft_apply_conf_change(handle, kind, node C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.applyConfChange(pb.ConfChange{Type: pb.ConfChangeType(kind), NodeID: uint64(node)})
	return s.bits()
}

//export postfleet_raft_members
func postfleet_raft_members(handle C.uint64_t, out unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	return answer(appendMembers(nil, find(handle).storage.members), out, capacity)
}

//export postfleet_raft_step
func postfleet_raft_step(handle, from C.uint64_t, in unsafe.Pointer, size C.size_t, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	return s.outcome(s.step(uint64(from), bytesAt(in, size)), text, capacity)
}

//export postfleet_raft_inspect
func postfleet_raft_inspect(in unsafe.Pointer, size C.size_t, out unsafe.Pointer, capacity C.size_t, text unsafe.Pointer, textCapacity C.size_t) C.int64_t {
	defer abortOnPanic()
	m, err := parseMessage(bytesAt(in, size))
	if err != nil {
		return refused(refuse(invalidArgument, "%v", err), text, textCapacity)
	}
	return answer(appendMessage(nil, &m, false), out, capacity)
}

//export postfleet_raft_read_index
func postfleet_raft_read_index(handle, context C.uint64_t, text unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	return s.outcome(s.readIndex(uint64(context)), text, capacity)
}

//export postfleet_raft_transfer
func postfleet_raft_transfer(handle, to C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.transfer(uint64(to))
	return s.bits()
}

//export postfleet_raft_campaign
func postfleet_raft_campaign(handle C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.campaign()
	return s.bits()
}

//export postfleet_raft_report_unreachable
func postfleet_raft_report_unreachable(handle, id C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.raft.ReportUnreachable(uint64(id))
	return s.bits()
}

//export postfleet_raft_report_snapshot
func postfleet_raft_report_snapshot(handle, id, delivered C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.reportSnapshot(uint64(id), delivered != 0)
	return s.bits()
}

//export postfleet_raft_ready
func postfleet_raft_ready(handle C.uint64_t, out unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	return answer(find(handle).takeReady(), out, capacity)
}

// A turn: advances over the Ready before when `advance` is 1, appends the references, and says what is
// owed then, as postfleet_raft_ready does; 0: nothing, or a Ready is taken that is not advanced over.
//
//export postfleet_raft_turn
func postfleet_raft_turn(handle, advance C.uint64_t, references unsafe.Pointer, size C.size_t, out unsafe.Pointer, capacity C.size_t, text unsafe.Pointer, textCapacity C.size_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	if advance != 0 {
		s.advance()
	}
	if r := s.propose(C.GoBytes(references, C.int(size))); r != nil {
		return refused(r, text, textCapacity)
	}
	if s.ready != nil || !s.after() {
		return 0
	}
	return answer(s.takeReady(), out, capacity)
}

//export postfleet_raft_advance
func postfleet_raft_advance(handle C.uint64_t) C.int64_t {
	defer abortOnPanic()
	s := find(handle)
	s.advance()
	return s.bits()
}

//export postfleet_raft_standing
func postfleet_raft_standing(handle C.uint64_t, out unsafe.Pointer, capacity C.size_t) C.int64_t {
	defer abortOnPanic()
	return answer(find(handle).encodeStanding(), out, capacity)
}

//export postfleet_raft_compact
func postfleet_raft_compact(handle, index C.uint64_t) {
	defer abortOnPanic()
	find(handle).compact(uint64(index))
}

//export postfleet_raft_set_snapshot
func postfleet_raft_set_snapshot(handle C.uint64_t, in unsafe.Pointer, size C.size_t) {
	defer abortOnPanic()
	w := words{rest: bytesAt(in, size)}
	at := w.snapshot()
	if w.short {
		panic(errCutShort)
	}
	find(handle).setSnapshot(at)
}

//export postfleet_raft_withdraw_snapshot
func postfleet_raft_withdraw_snapshot(handle C.uint64_t) {
	defer abortOnPanic()
	find(handle).withdrawSnapshot()
}

//export postfleet_raft_seed_randomness
func postfleet_raft_seed_randomness(seed C.uint64_t) {
	defer abortOnPanic()
	seedRandomness(uint64(seed))
}
