package stub

import (
	"encoding/binary"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// An emulated call is the number of a system call and its first four arguments.
type emulatedCall struct {
	number    uint64
	arguments [4]uint64
}

// emulatedCalls runs an image for arm64 and returns the system calls that it
// makes. The emulator writes all registers before each instruction.
func emulatedCalls(t *testing.T, image []byte) (calls []emulatedCall) {
	t.Helper()
	cmd := exec.Command(needtest.Program(t, emulators["arm64"]), "-d", "cpu,nochain", file(t, image))
	// One instruction at a time, by its name before and since QEMU 8.1.
	cmd.Env = []string{"QEMU_SINGLESTEP=1", "QEMU_ONE_INSN_PER_TB=1"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != ExitFailed {
		t.Fatalf("%v: %.1000s", err, out)
	}
	hex := func(text []byte) uint64 {
		n, err := strconv.ParseUint(string(text), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	state := regexp.MustCompile(`(?s)PC=(\w+) X00=(\w+) X01=(\w+)\s+X02=(\w+) X03=(\w+).*?X08=(\w+)`)
	for _, found := range state.FindAllSubmatch(out, -1) {
		const svc = 0xd4000001
		if place := hex(found[1]) - baseAddress; binary.LittleEndian.Uint32(image[place:]) == svc {
			calls = append(calls, emulatedCall{hex(found[6]), [4]uint64{hex(found[2]), hex(found[3]), hex(found[4]), hex(found[5])}})
		}
	}
	return calls
}

// The listener of a filter goes the same way on arm64: its descriptor is moved, and sent in a
// message, each with the cookie. The emulator makes no listener, so the calls are seen
// up to the first that fails.
func TestListenerInRegisters(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		return // TestListener does it for real
	}
	const cookie = 0xfedcba9876543210
	e := Entry{Report: 2, Path: "/nowhere", Cookie: cookie, Listener: 7, Filter: unlessCookie(unix.SECCOMP_RET_KILL_PROCESS, cookie, 1)}
	image, err := e.image("arm64")
	if err != nil {
		t.Fatal(err)
	}
	calls := emulatedCalls(t, image)
	if len(calls) != 4 || calls[1].number != arm64Numbers["seccomp"] || calls[1].arguments[1] != unix.SECCOMP_FILTER_FLAG_NEW_LISTENER {
		t.Fatalf("the second of these makes no listener: %x", calls)
	}
}

// What the emulator cannot do for arm64, a filter and its cookie, is seen in the
// registers.
func TestFilterInRegisters(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		return // TestCookie does it for real
	}
	const cookie = 0xfedcba9876543210
	number := func(name string) uint64 { return arm64Numbers[name] }
	e := Entry{Report: 2, Path: "/nowhere", Cookie: cookie}
	image, err := e.image("arm64")
	if err != nil {
		t.Fatal(err)
	}
	calls := emulatedCalls(t, image)
	for i, name := range []string{"fcntl", "execve", "write", "exit_group"} {
		if len(calls) != 4 || calls[i].number != number(name) || i > 0 && calls[i].arguments[3] != cookie {
			t.Errorf("call %d is not %s with the cookie: %x", i, name, calls)
		}
	}

	e.Filter = unlessCookie(unix.SECCOMP_RET_KILL_PROCESS, cookie, 1, 2, 3)
	if image, err = e.image("arm64"); err != nil {
		t.Fatal(err)
	}
	calls = emulatedCalls(t, image)
	if len(calls) != 4 || calls[1].number != number("seccomp") || calls[1].arguments[0] != unix.SECCOMP_SET_MODE_FILTER || calls[1].arguments[1] != 0 {
		t.Fatalf("the second of these does not install a filter: %x", calls)
	}
	program := image[calls[1].arguments[2]-baseAddress:]
	if n := binary.LittleEndian.Uint16(program); int(n) != len(e.Filter) {
		t.Errorf("the filter has %d instructions, want %d", n, len(e.Filter))
	}
	instructions := image[binary.LittleEndian.Uint64(program[8:])-baseAddress:]
	for i, want := range e.Filter {
		bytes := instructions[8*i:]
		got := unix.SockFilter{Code: binary.LittleEndian.Uint16(bytes), Jt: bytes[2], Jf: bytes[3], K: binary.LittleEndian.Uint32(bytes[4:])}
		if got != want {
			t.Errorf("instruction %d is %+v, want %+v", i, got, want)
		}
	}
}
