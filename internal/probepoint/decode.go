package probepoint

import (
	"golang.org/x/arch/x86/x86asm"
)

const maxInstruction = 15 // bytes

// instruction is one instruction of x86-64.
type instruction struct {
	at, length int // bytes from the function's entry
	// op is what it does, 0 for one of which only the length is known: vector instructions, which never branch.
	op   x86asm.Op
	args x86asm.Args
	// target is where a direct branch goes, from the function's entry, if jumps is true.
	target int
	jumps  bool
	// transfers is true for what may go on elsewhere than behind itself.
	transfers bool
	// indirect is true for a jump to a place that is not in the instruction.
	indirect bool
	prefixed bool // has a prefix that the kernel refuses to probe
}

// decodeAt decodes the instruction at an offset of a function's code; false if it is not known.
func decodeAt(code []byte, at int) (instruction, bool) {
	b := code[at:]
	i := instruction{at: at}
	if n := vectorLength(b); n > 0 {
		i.length = n
		return i, n <= len(b)
	}
	if n := hintLength(b); n > 0 {
		i.length, i.op = n, x86asm.NOP
		return i, true
	}
	// The decoder may look behind the end of what it is given: it gets zeros there.
	var padded [32]byte
	copy(padded[:], b[:min(len(b), maxInstruction)])
	inst, err := x86asm.Decode(padded[:], 64)
	if err != nil || inst.Op == 0 || inst.Len <= 0 || inst.Len > len(b) {
		i.length = otherLength(b)
		return i, i.length > 0
	}
	i.length, i.op, i.args = inst.Len, inst.Op, inst.Args
	for _, p := range inst.Prefix {
		switch p & 0xff {
		case 0xf0, 0x26, 0x2e, 0x36, 0x3e:
			i.prefixed = i.prefixed || p&x86asm.PrefixImplicit == 0
		}
	}
	relative, direct := inst.Args[0].(x86asm.Rel)
	switch inst.Op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ, x86asm.JG, x86asm.JGE,
		x86asm.JL, x86asm.JLE, x86asm.JMP, x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP,
		x86asm.JRCXZ, x86asm.JS, x86asm.LOOP, x86asm.LOOPE, x86asm.LOOPNE, x86asm.XBEGIN:
		i.transfers = true
		if direct {
			i.jumps, i.target = true, at+inst.Len+int(relative)
		} else {
			i.indirect = true
		}
	case x86asm.LJMP:
		i.transfers, i.indirect = true, true
	case x86asm.CALL, x86asm.LCALL, x86asm.RET, x86asm.LRET, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ, x86asm.SYSCALL, x86asm.SYSENTER,
		x86asm.SYSRET, x86asm.SYSEXIT, x86asm.INT, x86asm.INTO, x86asm.UD1, x86asm.UD2, x86asm.HLT, x86asm.XABORT:
		i.transfers = true
	}
	return i, true
}

// hintLength is the length of an instruction of the hint space that does nothing to a program (endbr64 and the reading of the
// shadow stack), 0 for others.
func hintLength(b []byte) int {
	at := 0
	if at < len(b) && b[at] == 0xf3 {
		at++
	}
	if at < len(b) && b[at]&0xf0 == 0x40 {
		at++
	}
	if len(b) >= at+3 && b[at] == 0x0f && b[at+1] == 0x1e && b[at+2]>>6 == 3 {
		return at + 3
	}
	return 0
}

// vectorLength is the length of an instruction with a VEX or EVEX prefix, 0 for others and for one that is cut.
func vectorLength(b []byte) int {
	at := 0
	for at < len(b) && at < 4 && (b[at] == 0x66 || b[at] == 0x67 || b[at] == 0x64 || b[at] == 0x65) {
		at++ // an address size or segment
	}
	if len(b) < at+2 {
		return 0
	}
	space := byte(1) // opcode map
	switch b[at] {
	case 0xc5:
		at += 2
	case 0xc4:
		space = b[at+1] & 0x1f
		at += 3
	case 0x62:
		space = b[at+1] & 0x07
		at += 4
	default:
		return 0
	}
	if len(b) < at+1 {
		return 0
	}
	opcode := b[at]
	at++
	if space == 1 && opcode == 0x77 {
		return at // vzeroupper has no operands
	}
	end := operandsEnd(b, at)
	if space == 3 || space == 1 && (opcode >= 0x70 && opcode <= 0x73 || opcode == 0xc2 || opcode >= 0xc4 && opcode <= 0xc6) {
		end++
	}
	if end <= at || end > len(b) {
		return 0
	}
	return end
}

// otherLength is the length of an instruction of a newer part of the opcode space that has operands and never branches, 0 for others.
func otherLength(b []byte) int {
	at := 0
	for at < len(b) && at < 4 && (b[at] == 0x66 || b[at] == 0xf2 || b[at] == 0xf3) {
		at++
	}
	if at < len(b) && b[at]&0xf0 == 0x40 {
		at++
	}
	if len(b) < at+4 || b[at] != 0x0f {
		return 0
	}
	end := 0
	switch b[at+1] {
	case 0x38:
		end = operandsEnd(b, at+3)
	case 0x3a:
		end = operandsEnd(b, at+3) + 1
	case 0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0xc7: // hints, random numbers
		end = operandsEnd(b, at+2)
	}
	if end <= at+2 || end > len(b) {
		return 0
	}
	return end
}

// operandsEnd is where the operand bytes at an offset end, before an immediate; 0 if they are cut.
func operandsEnd(b []byte, at int) int {
	if len(b) < at+1 {
		return 0
	}
	mode, rm := b[at]>>6, b[at]&7
	at++
	displacement := 0
	switch {
	case mode == 3:
	case rm == 4:
		if len(b) < at+1 {
			return 0
		}
		base := b[at] & 7
		at++
		if mode == 0 && base == 5 {
			displacement = 4
		}
	case mode == 0 && rm == 5:
		displacement = 4
	}
	switch mode {
	case 1:
		displacement = 1
	case 2:
		displacement = 4
	}
	return at + displacement
}
