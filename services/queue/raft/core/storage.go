package main

import (
	"fmt"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
)

const (
	// A reference as C++ has it in memory: origin, sequence, bytes, crc32c.
	referenceBytes = 24
	// What raft counts for an entry in a message: the reference, term, index and their tags.
	entryWireBytes = 50
)

// record is an entry without its index. It has no pointer, so that the collector does not look into
// a log of a million.
type record struct {
	term      uint64
	kind      pb.EntryType
	empty     bool
	reference [referenceBytes]byte
}

// logStorage is raft.Storage over what C++ has made durable: the entries behind `base`.
type logStorage struct {
	hard    pb.HardState
	members pb.ConfState // as of the applied index

	baseIndex, baseTerm uint64
	records             []record
	confChanges         map[uint64][]byte // by index: few

	// Metadata of the checkpoint that C++ can hand over; index 0: none.
	snapshot pb.SnapshotMetadata
	wanted   bool // raft asked for one that is not there
}

func newLogStorage() *logStorage { return &logStorage{confChanges: map[uint64][]byte{}} }

func (s *logStorage) last() uint64 { return s.baseIndex + uint64(len(s.records)) }

func (s *logStorage) at(index uint64) *record { return &s.records[index-s.baseIndex-1] }

// append puts entries behind the log; those at or below its end replace the suffix. What is compacted
// already stays so.
func (s *logStorage) append(entries []pb.Entry) {
	for len(entries) > 0 && entries[0].Index <= s.baseIndex {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return
	}
	first := entries[0].Index
	if first > s.last()+1 {
		panic(fmt.Sprintf("append at %d behind a log that ends at %d", first, s.last()))
	}
	for index := range s.confChanges {
		if index >= first {
			delete(s.confChanges, index)
		}
	}
	s.records = s.records[:first-s.baseIndex-1]
	for i := range entries {
		e := &entries[i]
		r := record{term: e.Term, kind: e.Type, empty: len(e.Data) == 0}
		if e.Type == pb.EntryNormal {
			copy(r.reference[:], e.Data)
		} else {
			s.confChanges[e.Index] = e.Data
		}
		s.records = append(s.records, r)
	}
}

// compact forgets entries up to and with `index`.
func (s *logStorage) compact(index uint64) {
	if index <= s.baseIndex {
		return
	}
	if index > s.last() {
		panic(fmt.Sprintf("compact at %d of a log that ends at %d", index, s.last()))
	}
	s.baseTerm = s.at(index).term
	kept := s.records[index-s.baseIndex:]
	if len(kept) < cap(s.records)/4 {
		kept = append(make([]record, 0, 2*len(kept)), kept...)
	}
	s.records = kept
	s.baseIndex = index
	for i := range s.confChanges {
		if i <= index {
			delete(s.confChanges, i)
		}
	}
}

// restart lets the log begin anew behind a snapshot.
func (s *logStorage) restart(base pb.SnapshotMetadata) {
	s.baseIndex, s.baseTerm = base.Index, base.Term
	s.members = base.ConfState
	s.records = nil
	s.confChanges = map[uint64][]byte{}
}

func (s *logStorage) InitialState() (pb.HardState, pb.ConfState, error) {
	return s.hard, s.members, nil
}

func (s *logStorage) FirstIndex() (uint64, error) { return s.baseIndex + 1, nil }
func (s *logStorage) LastIndex() (uint64, error)  { return s.last(), nil }

func (s *logStorage) Term(index uint64) (uint64, error) {
	switch {
	case index < s.baseIndex:
		return 0, raft.ErrCompacted
	case index == s.baseIndex:
		return s.baseTerm, nil
	case index > s.last():
		return 0, raft.ErrUnavailable
	}
	return s.at(index).term, nil
}

// Entries gives at least one of [lo, hi), and as many as fit in bytesMax.
func (s *logStorage) Entries(lo, hi, bytesMax uint64) ([]pb.Entry, error) {
	if lo <= s.baseIndex {
		return nil, raft.ErrCompacted
	}
	if hi > s.last()+1 {
		return nil, raft.ErrUnavailable
	}
	count := hi - lo
	if most := bytesMax/8 + 1; count > most { // no entry is smaller than 8 bytes
		count = most
	}
	entries := make([]pb.Entry, 0, count)
	references := make([]byte, 0, count*referenceBytes)
	size := uint64(0)
	for index := lo; index < lo+count; index++ {
		r := s.at(index)
		e := pb.Entry{Term: r.term, Index: index, Type: r.kind}
		if r.kind != pb.EntryNormal {
			e.Data = s.confChanges[index]
		} else if !r.empty {
			at := len(references)
			references = append(references, r.reference[:]...)
			e.Data = references[at:len(references):len(references)]
		}
		if size += uint64(e.Size()); size > bytesMax && len(entries) > 0 {
			break
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Snapshot is of use only to a member that it knows, and only when the log goes on behind it.
func (s *logStorage) Snapshot() (pb.Snapshot, error) {
	if s.snapshot.Index == 0 || s.snapshot.Index < s.baseIndex || !knowsAll(s.snapshot.ConfState, s.members) {
		s.wanted = true
		return pb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	return pb.Snapshot{Metadata: s.snapshot}, nil
}
