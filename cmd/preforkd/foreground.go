package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/process"
)

// A foreground waits for a program that runs in this process group, so that the
// terminal signals both. It has the program's part of job control: when the program
// stops, so does this process, for the shell to see it.
//
//	Ctrl-C, Ctrl-\  signal both; this process waits for what the program does
//	Ctrl-Z          stops both; fg continues both
//	TERM, HUP ...   sent to this process go on to the program
//
// A program that makes a process group of its own the terminal's, as shells do, has
// the terminal to itself. It is taken back in the end.
type foreground struct {
	tty     int // a descriptor of the terminal, or -1
	own     int // this process group, if it is the terminal's
	signals chan os.Signal
}

// newForeground must be called before the program starts.
func newForeground() *foreground {
	f := &foreground{tty: -1, signals: make(chan os.Signal, 16)}
	for fd := range 3 {
		if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
			f.tty, f.own = fd, group
			break
		}
	}
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2} {
		// What nohup(1) ignores, the program is to ignore as well.
		if !signal.Ignored(sig) {
			signal.Notify(f.signals, sig)
		}
	}
	return f
}

// wait waits for the end of the program, which is a child of this process.
func (f *foreground) wait(pid int) (exit process.Exit) {
	go f.forward(pid)
	for {
		found, err := unix.Wait4(pid, &exit.Status, unix.WUNTRACED, &exit.Usage)
		switch {
		case err == unix.EINTR:
		case err == nil && exit.Status.Stopped():
			f.stopWith(pid)
		default:
			exit.Pid = found
			f.end()
			return exit
		}
	}
}

// forward passes on signals that the terminal does not send, or sends to each
// process of the group only once.
func (f *foreground) forward(pid int) {
	for sig := range f.signals {
		if sig != unix.SIGINT && sig != unix.SIGQUIT {
			_ = unix.Kill(pid, sig.(unix.Signal))
		}
	}
}

// stopSettles is how long the terminal's signal may take to reach both processes.
const stopSettles = 50 * time.Millisecond

// stopWith stops this process if the program has stopped and this process has not:
// it was not the terminal that has stopped both. Then it continues the program.
func (f *foreground) stopWith(pid int) {
	// If it was the terminal, this process stops here.
	time.Sleep(stopSettles)
	if f.tty < 0 || !process.IsStopped(pid) {
		return
	}
	group, err := unix.IoctlGetInt(f.tty, unix.TIOCGPGRP)
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	if err == nil && group != f.own {
		f.give(group)
		_ = unix.Kill(-group, unix.SIGCONT)
	}
	_ = unix.Kill(pid, unix.SIGCONT)
}

// give makes a process group the terminal's.
func (f *foreground) give(group int) {
	signal.Ignore(unix.SIGTTOU) // which stops whoever does this in the background
	defer signal.Reset(unix.SIGTTOU)
	_ = unix.IoctlSetPointerInt(f.tty, unix.TIOCSPGRP, group)
}

// end takes the terminal back.
func (f *foreground) end() {
	if f.tty < 0 {
		return
	}
	if group, err := unix.IoctlGetInt(f.tty, unix.TIOCGPGRP); err == nil && group != f.own {
		f.give(f.own)
	}
}
