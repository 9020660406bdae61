package main

import (
	"errors"

	pb "go.etcd.io/etcd/raft/raftpb"
)

func contains(ids []uint64, id uint64) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}

func isMember(members pb.ConfState, id uint64) bool {
	return contains(members.Voters, id) || contains(members.Learners, id)
}

// knowsAll says whether each of `wanted` is in `members`.
func knowsAll(members, wanted pb.ConfState) bool {
	for _, ids := range [][]uint64{wanted.Voters, wanted.Learners} {
		for _, id := range ids {
			if !isMember(members, id) {
				return false
			}
		}
	}
	return true
}

// checkMembers refuses what raft would panic of: a member twice, joint consensus, nobody to vote.
func checkMembers(members pb.ConfState) error {
	if len(members.VotersOutgoing) > 0 || len(members.LearnersNext) > 0 || members.AutoLeave {
		return errors.New("members in joint consensus")
	}
	if len(members.Voters) == 0 {
		return errors.New("members without a voter")
	}
	seen := make(map[uint64]bool, len(members.Voters)+len(members.Learners))
	for _, ids := range [][]uint64{members.Voters, members.Learners} {
		for _, id := range ids {
			if id == 0 || seen[id] {
				return errors.New("a member is named twice, or has no id")
			}
			seen[id] = true
		}
	}
	return nil
}

// leavesNoVoter says whether raft would panic of this change: all replicas ignore it alike.
func leavesNoVoter(members pb.ConfState, change pb.ConfChange) bool {
	if change.Type == pb.ConfChangeAddNode && change.NodeID != 0 {
		return false
	}
	switch len(members.Voters) {
	case 0:
		return true
	case 1:
		return members.Voters[0] == change.NodeID
	}
	return false
}

// parseConfChange reads what an entry of a conf change has.
func parseConfChange(data []byte) (pb.ConfChange, error) {
	var change pb.ConfChange
	err := unmarshal(func() error { return change.Unmarshal(data) })
	switch {
	case err != nil:
		return change, err
	case change.Type != pb.ConfChangeAddNode && change.Type != pb.ConfChangeRemoveNode &&
		change.Type != pb.ConfChangeAddLearnerNode:
		return change, errors.New("a conf change of an unknown type")
	case len(change.Context) > confChangeContextBytesMax:
		return change, errors.New("a conf change with too long a context")
	}
	return change, nil
}
