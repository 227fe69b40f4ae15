package seccomp

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// writeProgram writes a static program that consists of the given machine code.
func writeProgram(t *testing.T, name string, code []byte) string {
	t.Helper()
	const address, headers = 0x400000, 64 + 56
	le := binary.LittleEndian
	elf := append([]byte("\x7fELF"), 2, 1, 1) // 64 bits, little endian, version 1 (elf(5))
	elf = append(elf, make([]byte, 9)...)
	elf = le.AppendUint16(elf, 2)  // ET_EXEC
	elf = le.AppendUint16(elf, 62) // EM_X86_64
	elf = le.AppendUint32(elf, 1)
	elf = le.AppendUint64(elf, address+headers) // entry point
	elf = le.AppendUint64(elf, 64)              // program headers
	elf = le.AppendUint64(elf, 0)
	elf = le.AppendUint32(elf, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} { // sizes and counts of the headers
		elf = le.AppendUint16(elf, v)
	}
	elf = le.AppendUint32(elf, 1) // PT_LOAD
	elf = le.AppendUint32(elf, 5) // PF_R | PF_X
	for _, v := range []uint64{0, address, address, uint64(headers + len(code)), uint64(headers + len(code)), 0x1000} {
		elf = le.AppendUint64(elf, v)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, append(elf, code...), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// exitWithErrno ends the process with exit(2), whose code is the negative of eax.
var exitWithErrno = []byte{
	0xf7, 0xd8, // neg eax
	0x89, 0xc7, // mov edi, eax
	0xb8, unix.SYS_EXIT, 0, 0, 0, // mov eax, SYS_exit
	0x0f, 0x05, // syscall
}

// closeNothing calls close(-1) with int 0x80, so as a call of i386, where it is 6. It exits
// with the errno.
var closeNothing = append([]byte{
	0xb8, 6, 0, 0, 0, // mov eax, 6
	0xbb, 0xff, 0xff, 0xff, 0xff, // mov ebx, -1
	0xcd, 0x80, // int 0x80
}, exitWithErrno...)

// endGroup calls exit_group(7). If that returns, it exits with the errno.
var endGroup = append([]byte{
	0xbf, 7, 0, 0, 0, // mov edi, 7
	0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, // mov eax, SYS_exit_group
	0x0f, 0x05, // syscall
}, exitWithErrno...)

// The program that a role executes.
const envProgram = "PREFORKD_TEST_PROGRAM"

func executeWithin(c Config) {
	installConfig(c)
	program := os.Getenv(envProgram)
	fmt.Println("exec:", unix.Exec(program, []string{program}, nil))
}

func init() {
	roles["i386"] = func() { executeWithin(Config{}) }
	roles["i386 kill"] = func() { executeWithin(Config{Action: Kill}) }
	roles["i386 log"] = func() { executeWithin(Config{Action: Log}) }
	roles["i386 without"] = func() {
		program := os.Getenv(envProgram)
		fmt.Println("exec:", unix.Exec(program, []string{program}, nil))
	}
	roles["cookie"] = tryCookie
}

func TestCallsOfI386(t *testing.T) {
	t.Setenv(envProgram, writeProgram(t, "i386", closeNothing))
	if out, err := child(t, "i386 without", true); exited(err) != fmt.Sprint(int(unix.EBADF)) {
		needtest.SkipAnywhere(t, fmt.Sprintf("needs a kernel with calls of i386: %s %s", exited(err), out))
	}
	enosys := fmt.Sprint(int(unix.ENOSYS))
	for name, want := range map[string]string{"i386": enosys, "i386 log": enosys, "i386 kill": "SIGSYS"} {
		if out, err := child(t, name, true); exited(err) != want || out != "" {
			t.Errorf("%s: %s, want %s\n%s", name, exited(err), want, out)
		}
	}
}

// tryCookie makes the calls of the cookie where the policy denies them. The filter is
// for this thread only, so that Go's runtime can make its calls on others.
func tryCookie() {
	runtime.LockOSThread()
	c := withPolicy("@default", "~execve", "~execveat", "~exit_group")()
	c.Cookie = testCookie
	code, err := Compile(runtime.GOARCH, c)
	if err != nil {
		panic(err)
	}
	program, err := unix.BytePtrFromString(os.Getenv(envProgram))
	if err != nil {
		panic(err)
	}
	arguments := []*byte{program, nil}
	filter := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	text := []byte("written with the cookie\n")
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	if err := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); err != nil {
		panic(err)
	}
	failed := uintptr(0)
	for i, cookie := range []uintptr{0, testCookie ^ 1, testCookie ^ 1<<63, testCookie & 0xffffffff, testCookie >> 32} {
		for j, number := range []uintptr{unix.SYS_WRITE, unix.SYS_EXIT_GROUP, unix.SYS_EXECVE, unix.SYS_PWRITE64} {
			// None of these arguments is valid, in case a call is allowed.
			if call(number, invalid, 1, 1, cookie) != unix.EPERM {
				failed |= 1 << (i*4 + j)
			}
		}
	}
	if call(unix.SYS_PWRITE64, invalid, 1, 1, testCookie) != unix.EPERM {
		failed |= 1 << 30
	}
	// execveat has a fourth and a fifth argument of its own.
	if call(unix.SYS_EXECVEAT, invalid, invalid, invalid, testCookie, testCookie, testCookie^1) != unix.EPERM ||
		call(unix.SYS_EXECVEAT, invalid, invalid, invalid, invalid, 0, testCookie) == unix.EPERM {
		failed |= 1 << 29
	}
	if failed == 0 {
		call(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), testCookie)
		call(unix.SYS_EXECVE, uintptr(unsafe.Pointer(program)), uintptr(unsafe.Pointer(&arguments[0])), 0, testCookie)
	}
	call(unix.SYS_EXIT_GROUP, 99, 0, 0, testCookie)
}

// After execve the program has no cookie: its exit_group fails.
func TestCookie(t *testing.T) {
	t.Setenv(envProgram, writeProgram(t, "cookie", endGroup))
	out, err := child(t, "cookie", true)
	if got := exited(err); got != fmt.Sprint(int(unix.EPERM)) || !strings.HasPrefix(out, "written with the cookie\n") {
		t.Errorf("ended with %s, want %d\n%s", got, int(unix.EPERM), out)
	}
	// Without what it executes, the process ends by the cookie.
	t.Setenv(envProgram, "/nowhere")
	if out, err := child(t, "cookie", true); exited(err) != "99" || out != "written with the cookie\n" {
		t.Errorf("ended with %s, want 99\n%s", exited(err), out)
	}
}
