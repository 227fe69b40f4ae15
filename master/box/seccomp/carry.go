package seccomp

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// instructionSize is the size of struct sock_filter (linux/filter.h).
const instructionSize = 8

// Export returns the program that the Judge is made of, in little-endian order, nil of a nil
// Judge. RestoreJudge takes it.
func (j *Judge) Export() []byte {
	if j == nil {
		return nil
	}
	text := make([]byte, 0, len(j.program)*instructionSize)
	for _, i := range j.program {
		text = binary.LittleEndian.AppendUint16(text, i.Code)
		text = append(text, i.Jt, i.Jf)
		text = binary.LittleEndian.AppendUint32(text, i.K)
	}
	return text
}

// RestoreJudge makes a Judge again that an earlier master has exported, nil of nothing.
func RestoreJudge(text []byte) (*Judge, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if len(text)%instructionSize != 0 || len(text) > maxInstructions*instructionSize {
		return nil, errors.New("the filter of system calls is no program")
	}
	var program []unix.SockFilter
	for ; len(text) > 0; text = text[instructionSize:] {
		program = append(program, unix.SockFilter{Code: binary.LittleEndian.Uint16(text), Jt: text[2], Jf: text[3], K: binary.LittleEndian.Uint32(text[4:])})
	}
	return NewJudge(program)
}
