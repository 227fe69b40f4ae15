package syscalls

import (
	"slices"
	"strings"
)

// none stands for the number of a call that an architecture does not have.
const none = -1

// A call is a system call with its number on each architecture.
type call struct {
	name         string
	amd64, arm64 int
}

func (c *call) number(arch string) int {
	switch arch {
	case "amd64":
		return c.amd64
	case "arm64":
		return c.arm64
	}
	return none
}

// find returns the call of that name, or nil. The calls are in the order of their names.
func find(name string) *call {
	i, found := slices.BinarySearchFunc(calls[:], name, func(c call, name string) int {
		return strings.Compare(c.name, name)
	})
	if !found {
		return nil
	}
	return &calls[i]
}

// Number returns the number of a system call. It reports false if the architecture
// (a GOARCH) does not have the call, or is not known here.
func Number(arch, name string) (int, bool) {
	c := find(name)
	if c == nil || c.number(arch) == none {
		return 0, false
	}
	return c.number(arch), true
}

// Name returns the name of the system call with that number. It reports false if the
// architecture (a GOARCH) does not have one, or is not known here.
func Name(arch string, number int) (string, bool) {
	for i := range calls {
		if n := calls[i].number(arch); n == number && n != none {
			return calls[i].name, true
		}
	}
	return "", false
}

// Numbers returns the numbers of all system calls of an architecture (a GOARCH), in
// ascending order. It returns none for an architecture that is not known here.
func Numbers(arch string) []int {
	return numbersOf(arch, func(string) bool { return true })
}

// numbersOf returns the numbers of the calls that are chosen by name, in ascending order.
func numbersOf(arch string, chosen func(name string) bool) []int {
	var numbers []int
	for i := range calls {
		if n := calls[i].number(arch); n != none && chosen(calls[i].name) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}
