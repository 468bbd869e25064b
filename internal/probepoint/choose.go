package probepoint

import (
	"golang.org/x/arch/x86/x86asm"
)

// Cost is what a probe on an instruction makes the kernel do at each hit, cheapest first.
type Cost uint8

// The costs. On one machine a hit of an empty program took 0.45, 0.67 and 9.5 microseconds.
const (
	// Nop5 is a nop of five bytes, which kernels from 6.18 on replace by a call.
	Nop5 Cost = iota
	// Emulated is an instruction that the kernel carries out itself: a push of a register, a nop of one byte, a relative branch.
	Emulated
	// SingleStep is any other instruction: it is carried out elsewhere, with a second exception.
	SingleStep
)

// String is nop5, emulated or single_step.
func (c Cost) String() string {
	switch c {
	case Nop5:
		return "nop5"
	case Emulated:
		return "emulated"
	default:
		return "single_step"
	}
}

const (
	window  = 32       // bytes from the entry that an instruction is chosen in
	maxBody = 64 << 10 // bytes of a function that are searched for branches into the window
)

// choice is an instruction to probe.
type choice struct {
	at, length int
	cost       Cost
	// recounts is true when the function can come by the instruction more than once in a call.
	recounts bool
	// rank orders what costs the same.
	rank int
}

func (c *choice) better(than *choice) bool {
	if c.recounts != than.recounts {
		return than.recounts
	}
	if c.cost != than.cost {
		return c.cost < than.cost
	}
	return c.rank < than.rank
}

// choose finds the best instruction in what a function does first and always: that of the lowest cost, which is
// carried out once in each call. code is the function from its entry on, at most maxBody bytes; whole says that it is all
// of it; nop5 that the kernel is fast there. It is false when no instruction can be probed.
//
// What runs always is the code from the entry to the first instruction that can go on elsewhere. Go's check for room on the
// stack does not end it: the function is entered for good behind it, and what is before it runs again when the stack was too small.
// It does end where anything in the function branches to.
func choose(code []byte, whole, goCode, nop5, singleStep bool) (choice, bool) {
	entered, inside, sure := branches(code, whole)
	best, found := choice{}, false
	checked := false // behind the check for room on the stack
	var before, last instruction
	for at := 0; at < min(len(code), window) && at < inside; {
		i, ok := decodeAt(code, at)
		if !ok {
			break
		}
		check := goCode && stackCheck(code, &before, &last, &i)
		c := choice{at: at, length: i.length, recounts: entered && !checked}
		c.cost, c.rank = costOf(code[at:at+i.length], nop5)
		saved := c.rank == rankSaved
		usable := c.cost != SingleStep || singleStep && i.op != 0 && !i.prefixed && steppable(i.op)
		// What an indirect branch may go to cannot be told; but it cannot be where registers are saved.
		if !sure && !saved && at > 0 && !checked {
			usable = false
		}
		if usable && (!found || c.better(&best)) {
			best, found = c, true
		}
		if check {
			checked = checked || i.op == x86asm.JBE
		} else if i.transfers {
			break
		}
		before, last = last, i
		at += i.length
	}
	return best, found
}

// The ranks of instructions of one cost: the earlier ones are better known to run once.
const (
	rankSaved  = iota // saves a register that the caller wants back
	rankPush          // saves another
	rankNop           // does nothing
	rankBranch        // may go elsewhere
	rankOther
)

// costOf is the cost of a probe on an instruction. The forms that the kernel carries out itself are few: others with prefixes, or of
// other lengths, are single-stepped.
func costOf(b []byte, nop5 bool) (Cost, int) {
	switch {
	case len(b) == 1 && b[0]&0xf8 == 0x50:
		if b[0] == 0x53 || b[0] == 0x55 {
			return Emulated, rankSaved // rbx, rbp
		}
		return Emulated, rankPush
	case len(b) == 2 && b[0] == 0x41 && b[1]&0xf8 == 0x50:
		if b[1] >= 0x54 {
			return Emulated, rankSaved // r12 to r15
		}
		return Emulated, rankPush
	case len(b) == 1 && b[0] == 0x90:
		return Emulated, rankNop
	case nop5 && len(b) == 5 && b[0] == 0x0f && b[1] == 0x1f && b[2] == 0x44 && b[3] == 0 && b[4] == 0:
		return Nop5, rankNop
	case len(b) == 2 && (b[0]&0xf0 == 0x70 || b[0] == 0xeb),
		len(b) == 5 && (b[0] == 0xe8 || b[0] == 0xe9),
		len(b) == 6 && b[0] == 0x0f && b[1]&0xf0 == 0x80:
		return Emulated, rankBranch
	}
	return SingleStep, rankOther
}

// steppable reports whether an instruction can be carried out out of place.
func steppable(op x86asm.Op) bool {
	switch op {
	case x86asm.INT, x86asm.INTO, x86asm.UD1, x86asm.UD2, x86asm.HLT, x86asm.CLI, x86asm.STI, x86asm.IN, x86asm.OUT,
		x86asm.INSB, x86asm.INSD, x86asm.INSW, x86asm.OUTSB, x86asm.OUTSD, x86asm.OUTSW, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ,
		x86asm.SYSENTER, x86asm.SYSEXIT, x86asm.SYSRET, x86asm.SYSCALL, x86asm.XBEGIN, x86asm.XABORT, x86asm.LCALL, x86asm.LJMP, x86asm.LRET:
		return false
	}
	return true
}

// stackCheck reports whether an instruction is a branch of the check for room on the stack that Go compiles in, by itself and the two before it:
// a comparison with the limit in the goroutine, or the subtraction of a large frame that underflows.
func stackCheck(code []byte, before, last, i *instruction) bool {
	if !i.jumps || i.target <= i.at || i.target >= len(code) && len(code) < maxBody {
		return false
	}
	switch i.op {
	case x86asm.JBE:
		if last.op != x86asm.CMP {
			return false
		}
		limit, ok := last.args[1].(x86asm.Mem)
		if !ok {
			limit, ok = last.args[0].(x86asm.Mem)
		}
		return ok && (limit.Base == x86asm.R14 || limit.Base == x86asm.RCX) && limit.Index == 0 && (limit.Disp == 0x10 || limit.Disp == 0x18)
	case x86asm.JB:
		return last.op == x86asm.SUB && last.args[0] == x86asm.R12 && before.op == x86asm.MOV && before.args[1] == x86asm.RSP
	}
	return false
}

// branches looks for direct branches to the beginning of a function: entered says that one goes to its entry, inside is where the
// first one behind that goes, at most len(code). It is not sure if there are instructions that it does not know, code that it did not see, or
// branches to places that are not in the code.
func branches(code []byte, whole bool) (entered bool, inside int, sure bool) {
	inside, sure = len(code), whole
	for at := 0; at < len(code); {
		i, ok := decodeAt(code, at)
		if !ok {
			// Padding or data; go on, so that what can be found is found.
			sure = false
			at++
			continue
		}
		switch {
		case i.jumps && i.target == 0:
			entered = true
		case i.jumps && i.target > 0:
			inside = min(inside, i.target)
		case i.indirect:
			sure = false
		}
		at += i.length
	}
	return entered, inside, sure
}
