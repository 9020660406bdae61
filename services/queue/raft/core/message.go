package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/raft/raftpb"
)

const (
	messageBytesMax           = 256 << 10
	confChangeContextBytesMax = 4096
	// Terms and indices beyond it would overflow in raft's sums.
	numberMax = 1 << 62
	// Of a message: a read's (node, context), or raft's word "CampaignTransfer".
	contextBytes = 16
)

// fromPeers are the types that mean something when they come from another member.
var fromPeers = map[pb.MessageType]bool{
	pb.MsgApp: true, pb.MsgAppResp: true, pb.MsgVote: true, pb.MsgVoteResp: true, pb.MsgSnap: true,
	pb.MsgHeartbeat: true, pb.MsgHeartbeatResp: true, pb.MsgTransferLeader: true, pb.MsgTimeoutNow: true,
	pb.MsgReadIndex: true, pb.MsgReadIndexResp: true, pb.MsgPreVote: true, pb.MsgPreVoteResp: true,
}

// unmarshal turns what the generated parsers do with some hostile lengths, a panic, into an error.
func unmarshal(parse func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not a protobuf message: %v", r)
		}
	}()
	return parse()
}

// parseMessage refuses all that raft's core would stumble over, as far as bytes alone show it.
func parseMessage(data []byte) (pb.Message, error) {
	var m pb.Message
	if len(data) > messageBytesMax {
		return m, errors.New("a message longer than the limit")
	}
	if err := unmarshal(func() error { return m.Unmarshal(data) }); err != nil {
		return m, err
	}
	for _, check := range []func(*pb.Message) error{checkHead, checkEntries, checkSnapshot} {
		if err := check(&m); err != nil {
			return m, err
		}
	}
	return m, nil
}

func checkHead(m *pb.Message) error {
	if !fromPeers[m.Type] {
		return fmt.Errorf("no peer sends messages of type %d", m.Type)
	}
	if m.From == 0 || m.To == 0 {
		return errors.New("a message from or to nobody")
	}
	// Raft takes a message without a term for one of its own.
	if (m.Term == 0) != (m.Type == pb.MsgReadIndex) {
		return errors.New("a message without a term, or a read with one")
	}
	for _, n := range []uint64{m.Term, m.LogTerm, m.Index, m.Commit, m.RejectHint} {
		if n > numberMax {
			return errors.New("a term or index out of range")
		}
	}
	if len(m.Context) > contextBytes {
		return errors.New("a message with too long a context")
	}
	return nil
}

func checkEntries(m *pb.Message) error {
	switch m.Type {
	case pb.MsgApp:
		return checkAppend(m)
	case pb.MsgReadIndex, pb.MsgReadIndexResp:
		if len(m.Entries) != 1 || len(m.Entries[0].Data) != contextBytes {
			return errors.New("a read without its context")
		}
	default:
		if len(m.Entries) != 0 {
			return errors.New("entries in a message that appends nothing")
		}
	}
	return nil
}

func checkAppend(m *pb.Message) error {
	// Raft has term 0 for entries that are not there, and would find it to match. No log begins at it.
	if m.Index == 0 || m.LogTerm == 0 {
		return errors.New("an append behind no entry")
	}
	term := m.LogTerm
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index != m.Index+1+uint64(i) {
			return errors.New("entries that do not follow one another")
		}
		if e.Term == 0 || e.Term < term {
			return errors.New("an entry of an earlier term than the one before")
		}
		term = e.Term
		if err := checkEntry(e); err != nil {
			return err
		}
	}
	if term > m.Term {
		return errors.New("an entry of a later term than its message")
	}
	return nil
}

func checkEntry(e *pb.Entry) error {
	switch e.Type {
	case pb.EntryNormal:
		if len(e.Data) != 0 && len(e.Data) != referenceBytes {
			return errors.New("an entry without a reference")
		}
	case pb.EntryConfChange:
		_, err := parseConfChange(e.Data)
		return err
	default:
		return fmt.Errorf("an entry of type %d", e.Type)
	}
	return nil
}

func checkSnapshot(m *pb.Message) error {
	at := m.Snapshot.Metadata
	if m.Type != pb.MsgSnap {
		if at.Index != 0 || len(m.Snapshot.Data) != 0 {
			return errors.New("a snapshot in a message of another type")
		}
		return nil
	}
	if at.Index == 0 || at.Index > numberMax || at.Term == 0 || at.Term > m.Term || len(m.Snapshot.Data) != 0 {
		return errors.New("not the metadata of a snapshot")
	}
	return checkMembers(at.ConfState)
}

func payloadBytes(e *pb.Entry) uint64 {
	if e.Type == pb.EntryNormal && len(e.Data) == referenceBytes {
		return uint64(binary.LittleEndian.Uint32(e.Data[16:]))
	}
	return 0
}

// splitAppend makes several appends out of one, so that none carries more payload than bytesMax,
// unless it has a single entry. To the receiver they are the same as the whole.
func splitAppend(m pb.Message, bytesMax uint64) []pb.Message {
	if m.Type != pb.MsgApp {
		return []pb.Message{m}
	}
	var parts []pb.Message
	entries, size, begin := m.Entries, uint64(0), 0
	for i := range entries {
		bytes := payloadBytes(&entries[i])
		if i > begin && size+bytes > bytesMax {
			part := m
			part.Entries = entries[begin:i]
			parts = append(parts, part)
			m.Index, m.LogTerm = entries[i-1].Index, entries[i-1].Term
			begin, size = i, 0
		}
		size += bytes
	}
	m.Entries = entries[begin:]
	return append(parts, m)
}
