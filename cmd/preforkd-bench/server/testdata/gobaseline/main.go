// Program gobaseline is the least that a server in Go can be which serves every
// connection from a freshly executed program: accept, spawn, reap, and nothing
// else. What it costs more than baselineserver, which does the same in C, is the
// runtime's and the standard library's price, and no server in Go escapes it.
//
// Usage: gobaseline HOW PORT PROGRAM. HOW is osexec, for exec.Cmd.Start, or
// forkexec, for syscall.ForkExec below it. The connection is the program's fd 0,
// 1 and 3.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: gobaseline osexec|forkexec PORT PROGRAM"))
	}
	port, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	spawn := map[string]func(program string, conn int) error{"osexec": osexec, "forkexec": forkexec}[os.Args[1]]
	listener, err := listen(port)
	if err != nil {
		fail(err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	// As many accept as can spawn at a time; they block in accept, each with a
	// thread of its own.
	for range max(2, runtime.GOMAXPROCS(0)) {
		go accept(listener, os.Args[3], spawn)
	}
	for range children {
		reap()
	}
}

func listen(port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return -1, err
	}
	return fd, syscall.Listen(fd, syscall.SOMAXCONN)
}

func accept(listener int, program string, spawn func(string, int) error) {
	for {
		conn, _, err := syscall.Accept4(listener, syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			fail(err)
		}
		if err := spawn(program, conn); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// osexec owns conn.
func osexec(program string, conn int) error {
	file := os.NewFile(uintptr(conn), "connection")
	defer file.Close()
	cmd := exec.Cmd{Path: program, Args: []string{program}, Env: []string{}, Stdin: file, Stdout: file, ExtraFiles: []*os.File{file}}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// forkexec owns conn.
func forkexec(program string, conn int) error {
	defer syscall.Close(conn)
	_, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
		Env: []string{}, Files: []uintptr{uintptr(conn), uintptr(conn), 2, uintptr(conn)},
	})
	return err
}

func reap() {
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err != syscall.EINTR && pid <= 0 {
			return
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gobaseline:", err)
	os.Exit(1)
}
