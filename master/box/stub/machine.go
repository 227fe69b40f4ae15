package stub

import (
	"debug/elf"
	"fmt"
)

// A machine writes the instructions of an architecture. It knows just those that
// a row of system calls needs. A new architecture is a new machine with its table
// of system calls.
type machine interface {
	elf() elf.Machine
	// number returns the number of a system call, and whether it is known.
	number(name string) (uint64, bool)

	// start keeps the addresses of argv and envp in their registers. It must
	// come first: the kernel has put argc at the top of the stack, argv and envp
	// above it (System V ABI, process initialization), and the word of argc is
	// written to later.
	start() []byte
	// set loads a constant, and load another register.
	set(to register, value uint64) []byte
	load(to, from register) []byte
	// address loads the address that is so many bytes below the stack pointer, at most
	// 4095.
	address(to register, bytes int) []byte
	// systemCall makes the call. Of the registers that are named here it changes
	// only callResult.
	systemCall() []byte
	// compareResult compares the result of the last call with a small number,
	// and compareTop the byte at the top of the stack with another.
	compareResult(with int8) []byte
	compareTop(value byte) []byte
	// countDown subtracts 1 from counter and compares it with 0.
	countDown() []byte
	// branch jumps by a distance, counted from its own first byte, if what was
	// compared is so. Its length does not depend on the distance.
	branch(when condition, distance int) []byte
	// store writes the 8 bytes of a register to the top of the stack.
	store(from register) []byte
	// storeFailure writes the register step and the errno of the last call to
	// the top of the stack, as 4 bytes each.
	storeFailure() []byte
	// trap ends the process, in case that it runs on after exit_group.
	trap() []byte
}

// A register is named after what it is for.
type register int

const (
	argument0 register = iota // arguments of a system call
	argument1
	argument2
	argument3
	argument4
	argument5
	callNumber
	callResult // shared with callNumber or argument0
	argv       // the address of the arguments that the stub was given
	envp       // the address of its environment
	step       // the code of the step that runs
	counter    // of a loop
	stackTop   // the stack pointer: the address of 8 bytes that may be written
)

// A condition is what a branch asks of the last comparison, signed.
type condition int

const (
	always condition = iota
	equal
	notEqual
	less
	lessOrEqual
)

// machineOf returns the machine of a GOARCH.
func machineOf(goarch string) (machine, error) {
	switch goarch {
	case "amd64":
		return amd64{}, nil
	case "arm64":
		return arm64{}, nil
	}
	return nil, fmt.Errorf("boxes need amd64 or arm64, this is %s", goarch)
}
