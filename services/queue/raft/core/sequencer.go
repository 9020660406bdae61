package main

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/raft/tracker"
)

// code is an absl::StatusCode.
type code int

const (
	invalidArgument    code = 3
	notFound           code = 5
	resourceExhausted  code = 8
	failedPrecondition code = 9
	outOfRange         code = 11
	unavailable        code = 14
	dataLoss           code = 15
)

// refusal is what the world did wrong: C++ makes an absl::Status of it.
type refusal struct {
	code code
	text string
}

func refuse(c code, format string, v ...interface{}) *refusal {
	return &refusal{c, fmt.Sprintf(format, v...)}
}

// sequencer is one replica: raft's core, the log that it reads, and what raft leaves to its user.
type sequencer struct {
	id      uint64
	limits  limits
	raft    *raft.RawNode
	storage *logStorage
	remarks *remarks

	ready   *raft.Ready // taken and not advanced over
	encoded []byte      // the same for C++

	// What a Ready before made durable: raft wants an append of another term, or a commit that only
	// this disk backs, to wait.
	durable pb.HardState

	// A snapshot was stepped and not advanced over: raft must not campaign, as it would look for
	// entries that are gone.
	restoring bool

	// The log ends at lastFloor or behind it; right there unless floorIsLow.
	lastFloor  uint64
	floorIsLow bool

	// No conf change may be proposed until this index is applied. Raft has the same rule, and makes
	// an empty entry of a change that breaks it.
	ledTerm     uint64
	confBarrier uint64

	reads       int // in this tick
	wantedShown bool
}

func (s *sequencer) leads() bool { return s.raft.BasicStatus().RaftState == raft.StateLeader }

// ownLast is the last index of a leader.
func (s *sequencer) ownLast() uint64 {
	last := s.storage.last()
	s.raft.WithProgress(func(id uint64, _ raft.ProgressType, progress tracker.Progress) {
		if id == s.id {
			last = progress.Match
		}
	})
	return last
}

// after is called when raft has done something: it says whether a Ready is owed.
func (s *sequencer) after() bool {
	status := s.raft.BasicStatus()
	if status.RaftState == raft.StateLeader && status.Term != s.ledTerm {
		s.ledTerm = status.Term
		s.confBarrier = s.ownLast()
	}
	return s.raft.HasReady() || (s.storage.wanted && !s.wantedShown) || len(s.remarks.lines) > 0
}

func (s *sequencer) tick() {
	s.reads = 0
	if s.restoring {
		return
	}
	s.raft.Tick()
	s.leaveOffice()
}

// leaveOffice hands over when this leader was removed or made a learner: raft would stay, and refuse
// every proposal.
func (s *sequencer) leaveOffice() {
	members := s.storage.members
	if len(members.Voters) == 0 || contains(members.Voters, s.id) {
		return
	}
	status := s.raft.BasicStatus()
	if status.RaftState != raft.StateLeader || status.LeadTransferee != 0 {
		return
	}
	heir, match := uint64(0), uint64(0)
	s.raft.WithProgress(func(id uint64, _ raft.ProgressType, progress tracker.Progress) {
		if contains(members.Voters, id) && progress.RecentActive && (heir == 0 || progress.Match > match) {
			heir, match = id, progress.Match
		}
	})
	if heir != 0 {
		s.raft.TransferLeader(heir)
	}
}

// mayPropose says why `count` more entries cannot be taken.
func (s *sequencer) mayPropose(count uint64) *refusal {
	status := s.raft.BasicStatus()
	switch {
	case status.RaftState != raft.StateLeader:
		return refuse(unavailable, "this replica does not lead")
	case status.LeadTransferee != 0:
		return refuse(unavailable, "this replica hands over its leadership")
	case !isMember(s.storage.members, s.id):
		return refuse(unavailable, "this replica is no member any more")
	case count > s.limits.uncommittedEntriesMax:
		return refuse(resourceExhausted, "%d entries at once, at most %d", count, s.limits.uncommittedEntriesMax)
	case uint64(len(s.storage.records))+count > s.limits.logEntriesMax:
		return refuse(resourceExhausted, "the log holds %d entries that are not compacted", len(s.storage.records))
	}
	return nil
}

func (s *sequencer) proposeEntries(entries []pb.Entry) *refusal {
	m := pb.Message{Type: pb.MsgProp, From: s.id, Entries: entries}
	if err := s.raft.Step(m); err != nil {
		return refuse(resourceExhausted, "too much is uncommitted")
	}
	return nil
}

// propose appends the references that lie one behind another in `references`, which raft keeps.
func (s *sequencer) propose(references []byte) *refusal {
	count := len(references) / referenceBytes
	if count == 0 {
		return nil
	}
	if r := s.mayPropose(uint64(count)); r != nil {
		return r
	}
	entries := make([]pb.Entry, count)
	for i := range entries {
		at := i * referenceBytes
		entries[i].Data = references[at : at+referenceBytes : at+referenceBytes]
	}
	return s.proposeEntries(entries)
}

func (s *sequencer) proposeConfChange(change pb.ConfChange) *refusal {
	if change.NodeID == 0 {
		return refuse(invalidArgument, "a conf change of no node")
	}
	data, err := change.Marshal()
	if err == nil {
		_, err = parseConfChange(data)
	}
	if err != nil {
		return refuse(invalidArgument, "%v", err)
	}
	if r := s.mayPropose(1); r != nil {
		return r
	}
	if applied := s.raft.BasicStatus().Applied; applied < s.confBarrier {
		return refuse(failedPrecondition, "index %d, which may change the members, is not applied", s.confBarrier)
	}
	if leavesNoVoter(s.storage.members, change) {
		return refuse(failedPrecondition, "none would be left to vote")
	}
	if r := s.proposeEntries([]pb.Entry{{Type: pb.EntryConfChange, Data: data}}); r != nil {
		return r
	}
	s.confBarrier = s.ownLast()
	return nil
}

func (s *sequencer) applyConfChange(change pb.ConfChange) {
	if leavesNoVoter(s.storage.members, change) {
		return
	}
	s.storage.members = *s.raft.ApplyConfChange(change)
}

// step takes what the peer `from` sent.
func (s *sequencer) step(from uint64, data []byte) *refusal {
	m, err := parseMessage(data)
	if err != nil {
		return refuse(invalidArgument, "%v", err)
	}
	if m.From != from || from == s.id || m.To != s.id {
		return refuse(invalidArgument, "a message from %x to %x came from %x", m.From, m.To, from)
	}
	take, r := s.admit(&m)
	if r != nil || !take {
		return r
	}
	if err := s.raft.Step(m); err != nil {
		return refuse(notFound, "%v", err)
	}
	return nil
}

// admit holds a message against the state of this replica; not to take it is not always to refuse
// it: any message may get lost.
func (s *sequencer) admit(m *pb.Message) (take bool, r *refusal) {
	switch m.Type {
	case pb.MsgHeartbeat:
		return true, s.admitCommit(m)
	case pb.MsgApp:
		return true, s.admitAppend(m)
	case pb.MsgAppResp:
		return true, s.admitMatch(m)
	case pb.MsgSnap:
		s.lowerFloor(m.Snapshot.Metadata.Index)
		s.restoring = true
	case pb.MsgReadIndex:
		// A follower would pass it on under its own name.
		return s.leads(), s.countRead()
	case pb.MsgTransferLeader:
		return s.leads(), nil
	case pb.MsgTimeoutNow:
		return !s.restoring, nil
	}
	return true, nil
}

// admitCommit: a heartbeat commits at most what this replica has acknowledged.
func (s *sequencer) admitCommit(m *pb.Message) *refusal {
	if m.Term < s.raft.BasicStatus().Term || m.Commit <= s.lastFloor {
		return nil
	}
	if !s.floorIsLow {
		return refuse(outOfRange, "%x commits %d of a log that ends at %d: entries that were acknowledged are lost",
			m.From, m.Commit, s.lastFloor)
	}
	m.Commit = s.lastFloor // the next heartbeat commits the rest
	return nil
}

func (s *sequencer) admitAppend(m *pb.Message) *refusal {
	if len(m.Entries) == 0 {
		return nil
	}
	if uint64(len(s.storage.records)+len(m.Entries)) > 2*s.limits.logEntriesMax {
		return refuse(resourceExhausted, "the log holds %d entries that are not compacted", len(s.storage.records))
	}
	s.lowerFloor(m.Entries[len(m.Entries)-1].Index)
	return nil
}

// admitMatch: nobody has more than its leader.
func (s *sequencer) admitMatch(m *pb.Message) *refusal {
	status := s.raft.BasicStatus()
	if m.Reject || status.RaftState != raft.StateLeader || m.Term != status.Term {
		return nil
	}
	if last := s.ownLast(); m.Index > last {
		return refuse(outOfRange, "%x has index %d of a log that ends at %d", m.From, m.Index, last)
	}
	return nil
}

func (s *sequencer) lowerFloor(last uint64) {
	s.floorIsLow = true
	if last < s.lastFloor {
		s.lastFloor = last
	}
}

func (s *sequencer) countRead() *refusal {
	if s.reads >= s.limits.readsPerTickMax {
		return refuse(resourceExhausted, "more than %d reads in a tick", s.limits.readsPerTickMax)
	}
	s.reads++
	return nil
}

// readIndex asks under this replica's name: two replicas may use the same context.
func (s *sequencer) readIndex(context uint64) *refusal {
	if s.raft.BasicStatus().Lead == 0 {
		return refuse(unavailable, "no leader is known")
	}
	if r := s.countRead(); r != nil {
		return r
	}
	name := make([]byte, contextBytes)
	binary.LittleEndian.PutUint64(name, s.id)
	binary.LittleEndian.PutUint64(name[8:], context)
	s.raft.ReadIndex(name)
	return nil
}

// transfer: a follower can only ask for itself; raft sends the request under its own name.
func (s *sequencer) transfer(to uint64) {
	if s.leads() || to == s.id {
		s.raft.TransferLeader(to)
	}
}

func (s *sequencer) campaign() {
	if !s.restoring {
		_ = s.raft.Campaign() // that it cannot is told by the role, which stays
	}
}

func (s *sequencer) reportSnapshot(id uint64, delivered bool) {
	status := raft.SnapshotFinish
	if !delivered {
		status = raft.SnapshotFailure
	}
	s.raft.ReportSnapshot(id, status)
}

// takeReady encodes what is owed; a second call before advance gives the same.
func (s *sequencer) takeReady() []byte {
	if s.ready != nil {
		return s.encoded
	}
	ready := s.raft.Ready()
	s.ready = &ready
	s.noteLast(&ready)
	s.encoded = s.encodeReady(s.encoded[:0], &ready)
	s.wantedShown = s.storage.wanted
	s.remarks.lines = nil
	return s.encoded
}

func (s *sequencer) noteLast(ready *raft.Ready) {
	last := s.storage.last()
	if !raft.IsEmptySnap(ready.Snapshot) {
		last = ready.Snapshot.Metadata.Index
	}
	if n := len(ready.Entries); n > 0 {
		last = ready.Entries[n-1].Index
	}
	s.lastFloor, s.floorIsLow = last, false
	if raft.IsEmptySnap(ready.Snapshot) {
		s.restoring = false // raft had no use for the snapshot
	}
}

// beforeSync: a leader's append may go before its own disk has the entries, as nobody counts it in
// before it says so; but not before the disk knows the leader's term and vote, and never with a
// commit that rests on this very write (it does when the leader alone is a quorum).
func (s *sequencer) beforeSync(ready *raft.Ready, m *pb.Message) bool {
	if m.Type != pb.MsgApp || m.Commit > s.storage.last() || !s.leads() {
		return false
	}
	hard := ready.HardState
	return raft.IsEmptyHardState(hard) || (hard.Term == s.durable.Term && hard.Vote == s.durable.Vote)
}

func (s *sequencer) advance() {
	ready := s.ready
	if ready == nil {
		panic("Advance without TakeReady")
	}
	if !raft.IsEmptySnap(ready.Snapshot) {
		s.storage.restart(ready.Snapshot.Metadata)
		s.restoring = false
	}
	s.storage.append(ready.Entries)
	if !raft.IsEmptyHardState(ready.HardState) {
		s.durable = ready.HardState
	}
	s.raft.Advance(*ready)
	s.ready = nil
	if cap(s.encoded) > encodedBytesKept {
		s.encoded = nil
	}
}

func (s *sequencer) compact(index uint64) {
	if applied := s.raft.BasicStatus().Applied; index > applied {
		panic(fmt.Sprintf("compact at %d, applied is %d", index, applied))
	}
	s.storage.compact(index)
}

func (s *sequencer) setSnapshot(at pb.SnapshotMetadata) {
	if err := checkMembers(at.ConfState); err != nil {
		panic(err.Error())
	}
	applied := s.raft.BasicStatus().Applied
	term, err := s.storage.Term(at.Index)
	if at.Index == 0 || at.Index > applied || (err == nil && term != at.Term) {
		panic(fmt.Sprintf("snapshot at index %d, term %d; applied is %d, its term %d", at.Index, at.Term, applied, term))
	}
	s.storage.snapshot = at
	s.storage.wanted, s.wantedShown = false, false
}

func (s *sequencer) withdrawSnapshot() {
	s.storage.snapshot = pb.SnapshotMetadata{}
	s.storage.wanted, s.wantedShown = false, false
}
