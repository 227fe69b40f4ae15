package process

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// UsageOf tells what a living child has used. It tells nothing of a child that
// has ended, and nothing of a process with another parent. A stranger that has
// got the pid of a child has another parent.
func TestUsageOf(t *testing.T) {
	conn, peer := connection(t)
	// The grandchild stands for the stranger. The child has used some CPU time.
	child, err := shell(t, false, `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 1000 & echo $!; read x; kill $!`).
		Start(conn, []string{"PATH=" + os.Getenv("PATH")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	child.Registered()
	line, err := bufio.NewReader(peer).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := strconv.Atoi(line[:len(line)-1])
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	if u, ok := UsageOf(child.Pid, buf); !ok || u.CPU == 0 || u.RSS == 0 {
		t.Errorf("a living child: %+v, %v", u, ok)
	}
	for name, pid := range map[string]int{"a grandchild": stranger, "the process itself": os.Getpid(), "no process": 1 << 30} {
		if u, ok := UsageOf(pid, buf); ok {
			t.Errorf("%s: %+v", name, u)
		}
	}
	peer.Close()
	// The child is a zombie when waitid returns, which leaves it unreaped.
	if err := unix.Waitid(unix.P_PID, child.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if u, ok := UsageOf(child.Pid, buf); ok {
		t.Errorf("a zombie: %+v", u)
	}
	if exit, ok := ExitOf(child.Pid); !ok || exit.Pid != child.Pid {
		t.Fatalf("reaped %+v, %v", exit, ok)
	}
	if u, ok := UsageOf(child.Pid, buf); ok {
		t.Errorf("a reaped child: %+v", u)
	}
}

// OwnRSS counts memory that has been written to.
func TestOwnRSS(t *testing.T) {
	const size = 64 << 20
	debug.FreeOSMemory() // so that the runtime gives nothing back meanwhile
	before := OwnRSS()
	block, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(block)
	for i := 0; i < size; i += os.Getpagesize() {
		block[i] = 1
	}
	if after := OwnRSS(); before == 0 || after < before+size/2 {
		t.Errorf("%d bytes before %d were written, %d after", before, size, after)
	}
}
