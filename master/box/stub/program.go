package stub

import (
	"fmt"
	"slices"
)

// A program is an image in the making: constants, and the instructions that are
// written so far.
type program struct {
	machine  machine
	data     []byte
	code     []byte
	labels   map[label]int // their places in code
	branches []branch
}

// A label is a place in the code that branches jump to.
type label string

// A branch is written with a distance of 0 until the place of its label is known.
type branch struct {
	place     int // in code
	condition condition
	to        label
}

// newProgram begins a program for a GOARCH.
func newProgram(goarch string) (*program, error) {
	m, err := machineOf(goarch)
	if err != nil {
		return nil, err
	}
	p := &program{machine: m, labels: map[label]int{}}
	p.code = m.start()
	return p, nil
}

// constant adds bytes to the data and returns their address, a multiple of 8.
func (p *program) constant(bytes []byte) value {
	p.data = align(p.data)
	address := dataAddress + len(p.data)
	p.data = append(p.data, bytes...)
	return value(address)
}

// text adds a string with the zero byte that C strings end with.
func (p *program) text(s string) value { return p.constant(append([]byte(s), 0)) }

// An operand is an argument of a system call.
type operand interface {
	// into returns the instruction that loads it into a register.
	into(m machine, to register) []byte
}

// A value is a number or an address that is known before the program runs.
type value uint64

func (v value) into(m machine, to register) []byte { return m.set(to, uint64(v)) }

// A below is an address: so many bytes below the top of the stack, which nothing else uses.
type below int

func (b below) into(m machine, to register) []byte { return m.address(to, int(b)) }

func (from register) into(m machine, to register) []byte { return m.load(to, from) }

// call makes a system call.
func (p *program) call(name string, arguments ...operand) {
	number, ok := p.machine.number(name)
	if !ok {
		panic(fmt.Sprintf("stub: the system call %s has no number for %v", name, p.machine.elf()))
	}
	for i, a := range arguments {
		p.code = append(p.code, a.into(p.machine, argument0+register(i))...)
	}
	p.set(callNumber, number)
	p.code = append(p.code, p.machine.systemCall()...)
}

// failed is where the program goes on when a step has failed.
const failed label = "failed"

// try makes a system call and goes on at failed if there is an error.
func (p *program) try(s Step, name string, arguments ...operand) {
	p.set(step, s.code())
	p.call(name, arguments...)
	p.branchIfResult(less, 0, failed)
}

// set loads a constant into a register.
func (p *program) set(to register, constant uint64) {
	p.code = append(p.code, p.machine.set(to, constant)...)
}

// place gives a label its place: here.
func (p *program) place(l label) { p.labels[l] = len(p.code) }

// branch goes on at a label if what was compared is so.
func (p *program) branch(when condition, to label) {
	p.branches = append(p.branches, branch{len(p.code), when, to})
	p.code = append(p.code, p.machine.branch(when, 0)...)
}

// branchIfResult goes on at a label if the result of the last call compares so
// with a number.
func (p *program) branchIfResult(when condition, with int8, to label) {
	p.code = append(p.code, p.machine.compareResult(with)...)
	p.branch(when, to)
}

// branchIfTop goes on at a label if this is the byte at the top of the stack.
func (p *program) branchIfTop(value byte, to label) {
	p.code = append(p.code, p.machine.compareTop(value)...)
	p.branch(equal, to)
}

// repeat goes on at a label until it was called as often as counter says.
func (p *program) repeat(at label) {
	p.code = append(p.code, p.machine.countDown()...)
	p.branch(notEqual, at)
}

// store writes a constant of 8 bytes to the top of the stack, for a call that may
// write there.
func (p *program) store(constant uint64) {
	p.set(counter, constant)
	p.code = append(p.code, p.machine.store(counter)...)
}

// exit ends the process. A filter may have been installed that asks for a cookie.
func (p *program) exit(code, cookie uint64) {
	p.call("exit_group", value(code), value(0), value(0), value(cookie))
	p.code = append(p.code, p.machine.trap()...)
}

// fail writes the part that says which step has failed to a descriptor, and ends
// the process.
func (p *program) fail(descriptor int, cookie uint64) {
	p.place(failed)
	p.code = append(p.code, p.machine.storeFailure()...)
	p.call("write", value(descriptor), stackTop, value(failureSize), value(cookie))
	p.exit(ExitFailed, cookie)
}

// image returns the executable file.
func (p *program) image() []byte {
	code := slices.Clone(p.code)
	for _, b := range p.branches {
		to, ok := p.labels[b.to]
		if !ok {
			panic(fmt.Sprintf("stub: the label %s has no place", b.to))
		}
		copy(code[b.place:], p.machine.branch(b.condition, to-b.place))
	}
	return executable(p.machine.elf(), p.data, code)
}
