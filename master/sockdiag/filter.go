package sockdiag

import "fmt"

// The operations of a filter, from linux/inet_diag.h.
const (
	opJump         = 1 // INET_DIAG_BC_JMP
	opLocalAtLeast = 2 // INET_DIAG_BC_S_GE
	opLocalAtMost  = 3 // INET_DIAG_BC_S_LE
)

// The sizes of the parts of a filter.
const (
	opSize    = 4
	portSize  = 2 * 2 * opSize      // two comparisons
	blockSize = portSize + 1*opSize // the comparisons and a jump
)

// MaxPorts is the maximum number of ports in a request. A jump in a filter
// reaches no further.
const MaxPorts = (1<<16 - 1) / blockSize

// portFilter returns a program for the kernel that selects the sockets whose
// local port is one of ports. Without ports it returns nil. The program
// consists of struct inet_diag_bc_op:
//
//	0  u8   operation
//	1  u8   how far to jump if it is true
//	2  u16  how far to jump if it is false
//
// A comparison of ports takes two of them. The second one has the port as its
// u16. The kernel selects a socket if the program arrives exactly at its end,
// and does not if the program jumps beyond it (inet_diag_bc_run in
// net/ipv4/inet_diag.c). Each port has a block. A socket with that port jumps
// to the end:
//
//	at least the port?  ── no ──► the next block
//	at most the port?   ── no ──► the next block
//	jump to the end
//
// Only newer kernels have an operation for "equal".
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
