package main

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/raft/tracker"
)

// What crosses between Go and C++ in one buffer: little-endian words of 64 bits; bytes are preceded
// by their number and padded to a word. wire.h reads and writes the same.

const encodedBytesKept = 1 << 20

// Bits of a Ready's first word.
const (
	readyHasSnapshot = 1 << iota
	readyHasHardState
	readyMustSync
	readyHasSoftState
	readySnapshotWanted
	readyMoreFollows
)

// The kinds of entries as C++ has them.
const (
	kindCommand = iota
	kindConfChange
	kindEmpty
)

func appendWords(b []byte, words ...uint64) []byte {
	for _, word := range words {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

func bitIf(bit uint64, set bool) uint64 {
	if set {
		return bit
	}
	return 0
}

func pad(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendBytes(b, bytes []byte) []byte {
	return pad(append(appendWords(b, uint64(len(bytes))), bytes...))
}

func appendIDs(b []byte, ids []uint64) []byte {
	return appendWords(appendWords(b, uint64(len(ids))), ids...)
}

func appendMembers(b []byte, members pb.ConfState) []byte {
	return appendIDs(appendIDs(b, members.Voters), members.Learners)
}

// An entry: term, index, kind, reference (three words), bytes of the conf change.
func appendEntry(b []byte, e *pb.Entry, withConfChange bool) []byte {
	var reference [referenceBytes]byte
	var confChange []byte
	kind := uint64(kindEmpty)
	switch {
	case e.Type == pb.EntryConfChange:
		kind = kindConfChange
		if withConfChange {
			confChange = e.Data
		}
	case len(e.Data) == referenceBytes:
		kind = kindCommand
		copy(reference[:], e.Data)
	}
	b = append(appendWords(b, e.Term, e.Index, kind), reference[:]...)
	return appendBytes(b, confChange)
}

func appendEntries(b []byte, entries []pb.Entry, withConfChange bool) []byte {
	b = appendWords(b, uint64(len(entries)))
	for i := range entries {
		b = appendEntry(b, &entries[i], withConfChange)
	}
	return b
}

// A message: type, from, to, term, may go before the sync, snapshot's index and term, entries.
func appendMessage(b []byte, m *pb.Message, beforeSync bool) []byte {
	at := m.Snapshot.Metadata
	b = appendWords(b, uint64(m.Type), m.From, m.To, m.Term, bitIf(1, beforeSync), at.Index, at.Term)
	if m.Type != pb.MsgApp {
		return appendEntries(b, nil, false)
	}
	return appendEntries(b, m.Entries, false)
}

func appendMarshaled(b []byte, m *pb.Message) []byte {
	size := m.Size()
	b = appendWords(b, uint64(size))
	at := len(b)
	b = append(b, make([]byte, size)...)
	if _, err := m.MarshalTo(b[at:]); err != nil {
		panic(err)
	}
	return pad(b)
}

func appendSoftState(b []byte, soft *raft.SoftState) []byte {
	if soft == nil {
		soft = &raft.SoftState{}
	}
	return appendWords(b, soft.Lead, uint64(soft.RaftState))
}

// A Ready: bits, the number of entries in all that follows, hard state, soft state, snapshot, entries,
// committed entries, messages, reads, remarks.
func (s *sequencer) encodeReady(b []byte, ready *raft.Ready) []byte {
	bits := bitIf(readyHasSnapshot, !raft.IsEmptySnap(ready.Snapshot)) |
		bitIf(readyHasHardState, !raft.IsEmptyHardState(ready.HardState)) |
		bitIf(readyMustSync, ready.MustSync) |
		bitIf(readyHasSoftState, ready.SoftState != nil) |
		bitIf(readySnapshotWanted, s.storage.wanted && !s.wantedShown) |
		bitIf(readyMoreFollows, s.moreFollows(ready))
	hard, at := ready.HardState, ready.Snapshot.Metadata
	b = appendWords(b, bits, entriesIn(ready), hard.Term, hard.Vote, hard.Commit)
	b = appendSoftState(b, ready.SoftState)
	b = appendMembers(appendWords(b, at.Index, at.Term), at.ConfState)
	b = appendEntries(b, ready.Entries, true)
	b = appendEntries(b, ready.CommittedEntries, true)
	b = s.appendMessages(b, ready)
	b = s.appendReads(b, ready.ReadStates)
	b = appendWords(b, uint64(len(s.remarks.lines)))
	for _, line := range s.remarks.lines {
		b = appendBytes(b, []byte(line))
	}
	return b
}

// moreFollows: another Ready is owed as soon as this one is advanced over, whatever happens meanwhile:
// what is committed did not fit, or may change the members, which raft looks at then.
func (s *sequencer) moreFollows(ready *raft.Ready) bool {
	n := len(ready.CommittedEntries)
	if n == 0 {
		return !raft.IsEmptySnap(ready.Snapshot)
	}
	for i := range ready.CommittedEntries {
		if ready.CommittedEntries[i].Type != pb.EntryNormal {
			return true
		}
	}
	return ready.CommittedEntries[n-1].Index < s.raft.BasicStatus().Commit
}

func entriesIn(ready *raft.Ready) uint64 {
	count := len(ready.Entries) + len(ready.CommittedEntries)
	for i := range ready.Messages {
		if ready.Messages[i].Type == pb.MsgApp {
			count += len(ready.Messages[i].Entries)
		}
	}
	return uint64(count)
}

func (s *sequencer) appendMessages(b []byte, ready *raft.Ready) []byte {
	var messages []pb.Message
	for _, m := range ready.Messages {
		messages = append(messages, splitAppend(m, s.limits.appendPayloadBytesMax)...)
	}
	b = appendWords(b, uint64(len(messages)))
	for i := range messages {
		b = appendMessage(b, &messages[i], s.beforeSync(ready, &messages[i]))
		b = appendMarshaled(b, &messages[i])
	}
	return b
}

func (s *sequencer) appendReads(b []byte, reads []raft.ReadState) []byte {
	var own []uint64
	for _, read := range reads {
		name := read.RequestCtx
		if len(name) == contextBytes && binary.LittleEndian.Uint64(name) == s.id {
			own = append(own, binary.LittleEndian.Uint64(name[8:]), read.Index)
		}
	}
	return appendWords(appendWords(b, uint64(len(own)/2)), own...)
}

// The standing: id, hard state, soft state, applied, first and last index, transfer, members, progress.
func (s *sequencer) encodeStanding() []byte {
	status := s.raft.Status()
	hard := status.HardState
	b := appendWords(nil, s.id, hard.Term, hard.Vote, hard.Commit)
	b = appendSoftState(b, &status.SoftState)
	b = appendWords(b, status.Applied, s.storage.baseIndex+1, s.storage.last(), status.LeadTransferee)
	b = appendMembers(b, s.storage.members)
	b = appendWords(b, uint64(len(status.Progress)))
	if len(status.Progress) == 0 {
		return b
	}
	s.raft.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		b = appendWords(b, id, p.Match, p.Next, uint64(p.State), bitIf(1, p.IsLearner), bitIf(1, p.RecentActive))
	})
	return b
}

var errCutShort = errors.New("a buffer from C++ that is cut short")

// words reads what C++ encoded; after the end of the buffer everything is zero, and short is set.
type words struct {
	rest  []byte
	short bool
}

func (w *words) next() uint64 {
	if len(w.rest) < 8 {
		w.short = true
		return 0
	}
	word := binary.LittleEndian.Uint64(w.rest)
	w.rest = w.rest[8:]
	return word
}

func (w *words) bytes(count uint64) []byte {
	padded := (count + 7) &^ 7
	if padded < count || uint64(len(w.rest)) < padded {
		w.short = true
		return nil
	}
	bytes := append([]byte(nil), w.rest[:count]...)
	w.rest = w.rest[padded:]
	return bytes
}

func (w *words) ids() []uint64 {
	var ids []uint64
	for count := w.next(); count > 0 && !w.short; count-- {
		ids = append(ids, w.next())
	}
	return ids
}

func (w *words) members() pb.ConfState { return pb.ConfState{Voters: w.ids(), Learners: w.ids()} }

func (w *words) snapshot() pb.SnapshotMetadata {
	return pb.SnapshotMetadata{Index: w.next(), Term: w.next(), ConfState: w.members()}
}

func (w *words) entry() pb.Entry {
	e := pb.Entry{Term: w.next(), Index: w.next()}
	kind, reference, confChange := w.next(), w.bytes(referenceBytes), w.bytes(w.next())
	switch kind {
	case kindCommand:
		e.Data = reference
	case kindConfChange:
		e.Type, e.Data = pb.EntryConfChange, confChange
	}
	return e
}

func (w *words) disk() *disk {
	d := &disk{id: w.next()}
	d.hard = pb.HardState{Term: w.next(), Vote: w.next(), Commit: w.next()}
	d.snapshot, d.members = w.snapshot(), w.members()
	d.applied = w.next()
	d.electionTicks, d.heartbeatTicks, d.inflightAppendsMax = int(w.next()), int(w.next()), int(w.next())
	d.appendEntriesMax, d.committedEntriesMax = w.next(), w.next()
	d.limits = limits{w.next(), w.next(), w.next(), int(w.next())}
	for count := w.next(); count > 0 && !w.short; count-- {
		d.entries = append(d.entries, w.entry())
	}
	return d
}
