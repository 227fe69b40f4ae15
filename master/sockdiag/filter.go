package sockdiag

import "fmt"

// Operations of a filter, from linux/inet_diag.h.
const (
	opJump         = 1 // INET_DIAG_BC_JMP
	opLocalAtLeast = 2 // INET_DIAG_BC_S_GE
	opLocalAtMost  = 3 // INET_DIAG_BC_S_LE
)

// Sizes of the blocks that a filter is made of.
const (
	opSize    = 4
	portSize  = 2 * 2 * opSize      // two comparisons
	blockSize = portSize + 1*opSize // and a jump
)

// MaxPorts is how many ports can be asked for at once: as far as a jump reaches.
const MaxPorts = (1<<16 - 1) / blockSize

// portFilter returns a program for the kernel that lets the sockets through
// whose local port is one of ports; nil when there are none. It is made of
// struct inet_diag_bc_op:
//
//	0  u8   operation
//	1  u8   how far to go when it holds
//	2  u16  how far to go when it does not
//
// A comparison of ports takes two of them, of which the second has the port as
// its u16. A socket passes when the program ends exactly at its end, and is left
// out when it goes beyond (inet_diag_bc_run in net/ipv4/inet_diag.c). Each port
// has a block, and whoever passes it jumps to the end:
//
//	at least the port?  ── no ──► the next block
//	at most the port?   ── no ──► the next block
//	jump to the end
//
// There is an operation for "equal", but for younger kernels only.
func portFilter(ports []uint16) ([]byte, error) {
	if len(ports) > MaxPorts {
		return nil, fmt.Errorf("%d ports, at most %d can be asked for at once", len(ports), MaxPorts)
	}
	var program []byte
	op := func(code, yes uint8, no int) {
		program = append(program, code, yes)
		program = host.AppendUint16(program, uint16(no))
	}
	for i, port := range ports {
		rest := (len(ports) - i - 1) * blockSize
		refuse := 0
		if rest == 0 {
			refuse = opSize // beyond the end
		}
		op(opLocalAtLeast, 2*opSize, blockSize+refuse)
		op(0, 0, int(port))
		op(opLocalAtMost, 2*opSize, blockSize-2*opSize+refuse)
		op(0, 0, int(port))
		op(opJump, opSize, opSize+rest)
	}
	return program, nil
}
