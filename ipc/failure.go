package ipc

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Failure says why a worker could not become the program that it was to execute. Its
// connection gets no service. Only workers with ExecStdio and ExecSystemd send it.
type Failure struct {
	Step  FailureStep
	Errno unix.Errno
}

// A FailureStep is what a worker was about to do when it failed.
type FailureStep uint8

// These are the steps. A number is never reused for another step.
const (
	FailedExec        FailureStep = 1 // execve(2) of the program
	FailedDescriptors FailureStep = 2 // to put the descriptors in their places
)

func (s FailureStep) String() string {
	if s == FailedDescriptors {
		return "set up descriptors"
	}
	return "exec"
}

// Append appends the failure as one message to dst.
func (f *Failure) Append(dst []byte) ([]byte, error) {
	msg := appendHeader(dst, TypeFailed)
	msg = append(msg, byte(f.Step))
	msg = binary.LittleEndian.AppendUint16(msg, uint16(f.Errno))
	return msg, setLength(msg[len(dst):])
}

// DecodeFailure decodes the body of a TypeFailed message. Errors wrap ErrMalformed.
func DecodeFailure(body []byte) (Failure, error) {
	d := decoder{body: body}
	step := d.take(1)
	f := Failure{Errno: unix.Errno(d.uint16())}
	if err := d.checkEnd(TypeFailed); err != nil {
		return Failure{}, err
	}
	f.Step = FailureStep(step[0])
	return f, nil
}
