package perf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"
)

// Mapping is a file that a process mapped executable.
type Mapping struct {
	PID  uint32        // in the pid namespace of the reader
	Time time.Duration // since boot
	// Start and Length in the memory of the process, Offset in the file, in bytes.
	Start, Length, Offset uint64
	// Dev is major << 20 | minor of the device, as the kernel has it.
	Dev, Generation uint32
	Inode           uint64
	Path            string
}

// Sample is a stack of user code, as addresses in the memory of the process, innermost first: they must be made places in
// files, and not leave the receiver.
type Sample struct {
	PID       uint32
	Time      time.Duration // since boot
	Addresses []uint64
}

// Record is one of the four.
type Record struct {
	Time    time.Duration // since boot; 0 of a loss
	Mapping *Mapping
	Sample  *Sample
	Exec    uint32 // the pid of a process that begins to execute another program: what it maps from now on is of that
	Lost    uint64 // records for which there was no room
}

// Types of records and parts of them (include/uapi/linux/perf_event.h).
const (
	recordLost   = 2
	recordComm   = 3
	recordSample = 9
	recordMmap2  = 10

	headerSize = 8
	trailer    = 16 // pid, tid, time

	modeMask = 7
	modeUser = 2
	commExec = 1 << 13 // of a name: that of a program that is executed

	// maxAddress is the first address that no process has. What is beyond it is memory that was taken for a frame, or tells
	// the parts of a stack apart.
	maxAddress = 1 << 48
)

var errRecord = errors.New("a perf record is not as the kernel writes it")

// parse reads the body of a record. ok is false for those that say nothing.
func parse(kind uint32, misc uint16, body []byte) (r Record, ok bool, err error) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(body[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(body[at:]) }
	switch kind {
	case recordLost:
		if len(body) < 16 {
			return r, false, errRecord
		}
		r.Lost = u64(8)
		return r, r.Lost > 0, nil
	case recordSample: // pid, tid, time, and the chain behind its length
		if len(body) < 24 {
			return r, false, errRecord
		}
		n := u64(16)
		if n > uint64(len(body)-24)/8 { //nolint:gosec // not negative
			return r, false, errRecord
		}
		s := &Sample{PID: u32(0), Time: time.Duration(u64(8))} //nolint:gosec // hundreds of years
		for i := range int(n) {                                //nolint:gosec // bounded by the record
			if address := u64(24 + 8*i); address < maxAddress {
				s.Addresses = append(s.Addresses, address)
			}
		}
		r.Sample, r.Time = s, s.Time
		return r, len(s.Addresses) > 0, nil
	case recordComm: // pid, tid, and a name, which nobody reads
		if len(body) < 8+trailer {
			return r, false, errRecord
		}
		r.Exec, r.Time = u32(0), time.Duration(u64(len(body)-8)) //nolint:gosec // hundreds of years
		return r, misc&commExec != 0, nil
	case recordMmap2:
		const fixed = 64 // up to the name
		if len(body) < fixed+trailer {
			return r, false, errRecord
		}
		name, _, ended := bytes.Cut(body[fixed:len(body)-trailer], []byte{0})
		if !ended {
			return r, false, errRecord
		}
		r.Mapping = &Mapping{
			PID: u32(0), Start: u64(8), Length: u64(16), Offset: u64(24), Dev: u32(32)<<20 | u32(36)&(1<<20-1), Inode: u64(40),
			Generation: uint32(u64(48)), Path: string(name), Time: time.Duration(u64(len(body) - 8)), //nolint:gosec // generations have 32 bits
		}
		r.Time = r.Mapping.Time
		return r, misc&modeMask == modeUser && r.Mapping.Inode != 0, nil
	default:
		return r, false, nil
	}
}
