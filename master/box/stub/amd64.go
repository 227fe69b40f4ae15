package stub

import (
	"debug/elf"
	"encoding/binary"
	"math"
)

// amd64 writes instructions as in volume 2 of the Intel 64 manual. Which
// registers a system call uses is in syscall(2); it destroys rcx and r11.
type amd64 struct{}

// The numbers of registers in instructions.
var amd64Registers = [...]byte{
	argument0:  7,  // rdi
	argument1:  6,  // rsi
	argument2:  2,  // rdx
	argument3:  10, // r10
	argument4:  8,  // r8
	argument5:  9,  // r9
	callNumber: 0,  // rax
	callResult: 0,  // rax
	argv:       12, // r12
	envp:       13, // r13
	step:       3,  // rbx
	counter:    5,  // rbp
	stackTop:   4,  // rsp
}

// From arch/x86/entry/syscalls/syscall_64.tbl.
var amd64Numbers = map[string]uint64{
	"read": 0, "write": 1, "rt_sigaction": 13, "shmctl": 31, "nanosleep": 35, "sendmsg": 46, "execve": 59,
	"getpid": 39, "kill": 62, "semctl": 66, "msgctl": 71, "fcntl": 72, "chdir": 80, "capset": 126, "statfs": 137, "setpriority": 141,
	"prctl": 157, "mount": 165, "faccessat": 269, "umount2": 166, "sethostname": 170, "sched_setaffinity": 203,
	"exit_group": 231, "ioprio_set": 251, "newfstatat": 262, "dup3": 292, "prlimit64": 302, "seccomp": 317, "execveat": 322,
	"close_range": 436,
}

func (amd64) elf() elf.Machine { return elf.EM_X86_64 }

func (amd64) number(name string) (uint64, bool) {
	n, ok := amd64Numbers[name]
	return n, ok
}

func (amd64) start() []byte {
	return []byte{
		0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
		0x4c, 0x8d, 0x64, 0x24, 0x08, // lea r12, [rsp+8]
		0x4c, 0x8d, 0x6c, 0xc4, 0x10, // lea r13, [rsp+rax*8+16]
	}
}

func (amd64) set(to register, value uint64) []byte {
	r := amd64Registers[to]
	if value > math.MaxUint32 {
		// REX.W: 64 bits; REX.B (1): the upper eight registers.
		return binary.LittleEndian.AppendUint64([]byte{0x48 | r>>3, 0xb8 | r&7}, value) // mov r64, imm64
	}
	var code []byte
	if r >= 8 {
		code = append(code, 0x41)
	}
	return binary.LittleEndian.AppendUint32(append(code, 0xb8|r&7), uint32(value)) // mov r32, imm32; the upper half becomes 0
}

func (amd64) load(to, from register) []byte {
	t, f := amd64Registers[to], amd64Registers[from]
	return []byte{0x48 | t>>3 | f>>3<<2, 0x89, 0xc0 | f&7<<3 | t&7} // mov r64, r64
}

func (amd64) address(to register, bytes int) []byte {
	t := amd64Registers[to]
	return binary.LittleEndian.AppendUint32([]byte{0x48 | t>>3<<2, 0x8d, 0x84 | t&7<<3, 0x24}, uint32(-int32(bytes))) // lea r64, [rsp-bytes]
}

func (amd64) systemCall() []byte { return []byte{0x0f, 0x05} }

func (amd64) compareResult(with int8) []byte {
	return []byte{0x48, 0x83, 0xf8, byte(with)} // cmp rax, imm8
}

func (amd64) compareTop(value byte) []byte {
	return []byte{0x80, 0x3c, 0x24, value} // cmp byte [rsp], imm8
}

func (amd64) countDown() []byte { return []byte{0xff, 0xcd} } // dec ebp

func (amd64) branch(when condition, distance int) []byte {
	var code []byte
	switch when {
	case always:
		code = []byte{0xe9} // jmp rel32
	case equal:
		code = []byte{0x0f, 0x84} // je
	case notEqual:
		code = []byte{0x0f, 0x85} // jne
	case less:
		code = []byte{0x0f, 0x8c} // jl
	case lessOrEqual:
		code = []byte{0x0f, 0x8e} // jle
	}
	// The machine counts from the end of the instruction.
	return binary.LittleEndian.AppendUint32(code, uint32(distance-len(code)-4))
}

func (amd64) store(from register) []byte {
	f := amd64Registers[from]
	return []byte{0x48 | f>>3<<2, 0x89, 0x04 | f&7<<3, 0x24} // mov [rsp], r64
}

func (amd64) storeFailure() []byte {
	return []byte{
		0xf7, 0xd8, // neg eax
		0x89, 0x1c, 0x24, // mov [rsp], ebx
		0x89, 0x44, 0x24, 0x04, // mov [rsp+4], eax
	}
}

func (amd64) trap() []byte { return []byte{0x0f, 0x0b} } // ud2
