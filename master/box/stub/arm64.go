package stub

import (
	"debug/elf"
	"encoding/binary"
)

// arm64 writes instructions as in the Arm architecture reference manual
// (A64 base instructions), of four bytes each. Which registers a system call uses
// is in syscall(2); it changes only x0.
type arm64 struct{}

// The numbers of registers in instructions.
var arm64Registers = [...]uint32{
	argument0:  0,
	argument1:  1,
	argument2:  2,
	argument3:  3,
	argument4:  4,
	argument5:  5,
	callNumber: 8,
	callResult: 0,
	argv:       19,
	envp:       20,
	step:       21,
	counter:    22,
	stackTop:   31,
}

// From include/uapi/asm-generic/unistd.h.
var arm64Numbers = map[string]uint64{
	"dup3": 24, "fcntl": 25, "ioprio_set": 30, "mount": 40, "faccessat": 48, "umount2": 39, "statfs": 43, "chdir": 49, "read": 63,
	"write": 64, "newfstatat": 79, "capset": 91, "exit_group": 94, "nanosleep": 101,
	"sched_setaffinity": 122, "kill": 129, "rt_sigaction": 134,
	"setpriority": 140, "sethostname": 161, "prctl": 167, "getpid": 172, "execve": 221,
	"msgctl": 187, "semctl": 191, "shmctl": 195, "sendmsg": 211,
	"prlimit64": 261, "seccomp": 277, "execveat": 281, "close_range": 436,
}

func (arm64) elf() elf.Machine { return elf.EM_AARCH64 }

func (arm64) number(name string) (uint64, bool) {
	n, ok := arm64Numbers[name]
	return n, ok
}

// words writes instructions.
func words(instructions ...uint32) []byte {
	var code []byte
	for _, i := range instructions {
		code = binary.LittleEndian.AppendUint32(code, i)
	}
	return code
}

func (arm64) start() []byte {
	return words(
		0xf94003e0, // ldr x0, [sp]
		0x910023f3, // add x19, sp, #8
		0x8b000e74, // add x20, x19, x0, lsl #3
		0x91002294, // add x20, x20, #8
	)
}

func (arm64) set(to register, value uint64) []byte {
	r := arm64Registers[to]
	code := words(0xd2800000 | uint32(value&0xffff)<<5 | r) // movz: the other bits become 0
	for part := uint32(1); part < 4; part++ {
		if bits := uint32(value >> (16 * part) & 0xffff); bits != 0 {
			code = append(code, words(0xf2800000|part<<21|bits<<5|r)...) // movk
		}
	}
	return code
}

func (arm64) load(to, from register) []byte {
	if from == stackTop {
		return words(0x910003e0 | arm64Registers[to]) // add xT, sp, #0
	}
	return words(0xaa0003e0 | arm64Registers[from]<<16 | arm64Registers[to]) // mov xT, xF
}

func (arm64) address(to register, bytes int) []byte {
	return words(0xd10003e0 | uint32(bytes)<<10 | arm64Registers[to]) // sub xT, sp, #bytes
}

func (arm64) systemCall() []byte { return words(0xd4000001) } // svc #0

func (arm64) compareResult(with int8) []byte {
	if with > 0 {
		return words(0xf100001f | uint32(with)<<10) // cmp x0, #with
	}
	return words(0xb100001f | uint32(-int32(with))<<10) // cmn x0, #-with
}

func (arm64) compareTop(value byte) []byte {
	return words(
		0x394003e9,                   // ldrb w9, [sp]
		0x7100013f|uint32(value)<<10, // cmp w9, #value
	)
}

func (arm64) countDown() []byte { return words(0x710006d6) } // subs w22, w22, #1

func (arm64) branch(when condition, distance int) []byte {
	offset := uint32(distance / 4)
	if when == always {
		return words(0x14000000 | offset&0x3ffffff) // b
	}
	code := map[condition]uint32{equal: 0, notEqual: 1, less: 11, lessOrEqual: 13}[when]
	return words(0x54000000 | offset&0x7ffff<<5 | code) // b.cond, by up to 1 MiB
}

func (arm64) store(from register) []byte {
	return words(0xf90003e0 | arm64Registers[from]) // str xF, [sp]
}

func (arm64) storeFailure() []byte {
	return words(
		0x4b0003e0, // neg w0, w0
		0x290003f5, // stp w21, w0, [sp]
	)
}

func (arm64) trap() []byte { return words(0) } // udf #0
