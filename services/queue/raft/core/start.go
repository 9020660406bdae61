package main

import (
	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
)

// limits are the bounds that C++ sets.
type limits struct {
	appendPayloadBytesMax uint64
	uncommittedEntriesMax uint64
	logEntriesMax         uint64
	readsPerTickMax       int
}

// disk is what C++ found there, and how the replica is to run.
type disk struct {
	id       uint64
	hard     pb.HardState
	snapshot pb.SnapshotMetadata
	members  pb.ConfState // as of applied
	applied  uint64
	entries  []pb.Entry

	electionTicks, heartbeatTicks         int
	inflightAppendsMax                    int
	appendEntriesMax, committedEntriesMax uint64
	limits                                limits
}

// check refuses options out of their range, and a disk that contradicts itself.
func (d *disk) check() *refusal {
	if d.id == 0 {
		return refuse(invalidArgument, "a replica without an id")
	}
	if d.heartbeatTicks < 1 || d.electionTicks <= d.heartbeatTicks || d.inflightAppendsMax < 1 ||
		d.appendEntriesMax < 1 || d.committedEntriesMax < 1 || d.limits.logEntriesMax < 1 ||
		d.limits.uncommittedEntriesMax < 1 || d.limits.readsPerTickMax < 1 {
		return refuse(invalidArgument, "an option out of its range")
	}
	if d.appendEntriesMax*entryWireBytes > messageBytesMax/2 {
		return refuse(invalidArgument, "append_entries_max makes messages longer than peers take")
	}
	if r := d.checkBase(); r != nil {
		return r
	}
	return d.checkLog()
}

func (d *disk) checkBase() *refusal {
	if d.snapshot.Index == 0 {
		if d.snapshot.Term != 0 || len(d.members.Voters)+len(d.members.Learners)+len(d.entries) > 0 || d.applied > 0 {
			return refuse(dataLoss, "members or entries, and no snapshot before them")
		}
		return nil
	}
	for _, members := range []pb.ConfState{d.snapshot.ConfState, d.members} {
		if err := checkMembers(members); err != nil {
			return refuse(dataLoss, "%v", err)
		}
	}
	if d.snapshot.Index > numberMax || d.snapshot.Term == 0 || d.hard.Term > numberMax {
		return refuse(dataLoss, "a term or index out of range")
	}
	return nil
}

func (d *disk) checkLog() *refusal {
	last, term := d.snapshot.Index, d.snapshot.Term
	for i := range d.entries {
		e := &d.entries[i]
		if e.Index != last+1 || e.Term < term {
			return refuse(dataLoss, "entry %d of term %d behind entry %d of term %d", e.Index, e.Term, last, term)
		}
		if err := checkEntry(e); err != nil {
			return refuse(dataLoss, "entry %d: %v", e.Index, err)
		}
		last, term = e.Index, e.Term
	}
	if d.hard.Term < term {
		return refuse(dataLoss, "term %d, and an entry of term %d", d.hard.Term, term)
	}
	if d.applied < d.snapshot.Index || d.applied > last || d.hard.Commit > last {
		return refuse(dataLoss, "applied up to %d and committed up to %d of a log from %d to %d",
			d.applied, d.hard.Commit, d.snapshot.Index, last)
	}
	if d.hard.Commit < d.applied {
		d.hard.Commit = d.applied
	}
	return nil
}

func start(d *disk) (*sequencer, *refusal) {
	if r := d.check(); r != nil {
		return nil, r
	}
	storage := newLogStorage()
	storage.restart(d.snapshot)
	storage.append(d.entries)
	storage.hard, storage.members = d.hard, d.members
	s := &sequencer{id: d.id, limits: d.limits, storage: storage, remarks: &remarks{}, durable: d.hard,
		lastFloor: storage.last()}
	node, err := raft.NewRawNode(&raft.Config{
		ID:                        d.id,
		ElectionTick:              d.electionTicks,
		HeartbeatTick:             d.heartbeatTicks,
		Storage:                   storage,
		Applied:                   d.applied,
		MaxSizePerMsg:             d.appendEntriesMax * entryWireBytes,
		MaxCommittedSizePerReady:  d.committedEntriesMax * entryWireBytes,
		MaxUncommittedEntriesSize: d.limits.uncommittedEntriesMax * referenceBytes,
		MaxInflightMsgs:           d.inflightAppendsMax,
		CheckQuorum:               true,
		PreVote:                   true,
		Logger:                    s.remarks,
		DisableProposalForwarding: true,
	})
	if err != nil {
		return nil, refuse(invalidArgument, "%v", err)
	}
	s.raft = node
	return s, nil
}
