package seccomp

import "golang.org/x/sys/unix"

// A program is built from its end to its start, because jumps only go forward: when an
// instruction is added, all that it may jump to is there, and every distance is known.
type program struct {
	code    []unix.SockFilter // the last instruction of the program comes first
	returns map[uint32]label  // the newest return instruction of each action
}

// A label is the index of an instruction in program.code.
type label int

// farthest is the longest distance that a conditional jump is given. The field has 8
// bits, and one instruction may come between (see jump).
const farthest = 254

// distance returns how many instructions a jump skips that is added now.
func (p *program) distance(to label) int { return len(p.code) - int(to) - 1 }

func (p *program) add(i unix.SockFilter) label {
	p.code = append(p.code, i)
	return label(len(p.code) - 1)
}

// near returns a label at which the program goes on with to, and which a conditional jump
// reaches.
func (p *program) near(to label) label {
	if p.distance(to) <= farthest {
		return to
	}
	return p.always(to)
}

// always adds a jump. It can have any distance.
func (p *program) always(to label) label {
	return p.add(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(p.distance(to))})
}

// jump adds a conditional jump: the operator is BPF_JEQ, BPF_JGE or BPF_JSET.
func (p *program) jump(operator uint16, k uint32, yes, no label) label {
	yes = p.near(yes)
	no = p.near(no)
	return p.add(unix.SockFilter{
		Code: unix.BPF_JMP | operator | unix.BPF_K, K: k,
		Jt: uint8(p.distance(yes)), Jf: uint8(p.distance(no)),
	})
}

// step adds an instruction after which the program goes on with next.
func (p *program) step(code uint16, k uint32, next label) label {
	if p.distance(next) > 0 {
		p.always(next)
	}
	return p.add(unix.SockFilter{Code: code, K: k})
}

// load adds an instruction that loads 4 bytes of struct seccomp_data.
func (p *program) load(offset uint32, next label) label {
	return p.step(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, next)
}

// end returns a label at which the program ends with an action.
func (p *program) end(action uint32) label {
	if l, found := p.returns[action]; found && p.distance(l) <= farthest {
		return l
	}
	l := p.add(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action})
	p.returns[action] = l
	return l
}
