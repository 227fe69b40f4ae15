package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/worker"
)

// An attempt returns what it has seen, or why it has failed.
type attempt func(args []string) (string, error)

var attempts = map[string]attempt{}

func init() {
	for _, some := range []map[string]attempt{files, network, processes, namespaces, kernel, memory, ipcs, bombs} {
		maps.Copy(attempts, some)
	}
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		os.Exit(child(os.Args[2:]))
	}
	worker.Main(worker.Handlers{"probe": probe, "echo": probe})
}

func probe(c *worker.Conn) error {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(c, answer(words[0], words[1:])); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answer(name string, args []string) (line string) {
	defer func() {
		if r := recover(); r != nil {
			line = fmt.Sprint("failed BUG ", r)
		}
	}()
	try := attempts[name]
	if try == nil {
		return "failed BUG there is no attempt " + name
	}
	seen, err := try(args)
	if err == nil {
		return "did " + strings.ReplaceAll(seen, "\n", " ")
	}
	errno, name := unix.Errno(0), "ERROR"
	if errors.As(err, &errno) {
		name = unix.ErrnoName(errno)
	}
	return fmt.Sprintf("failed %s %s", name, strings.ReplaceAll(err.Error(), "\n", " "))
}

// number is an argument that is a number, also in octal or hexadecimal.
func number(text string) int {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

// call is an attempt that is one system call with these arguments.
func call(name string, trap uintptr, args ...uintptr) attempt {
	return func([]string) (string, error) {
		var a [6]uintptr
		copy(a[:], args)
		r, _, errno := unix.Syscall6(trap, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return "", os.NewSyscallError(name, errno)
		}
		return fmt.Sprint(name, " = ", r), nil
	}
}

// closing closes a descriptor that an attempt has got, whose number it returns.
func closing(fd int, err error) (string, error) {
	if err != nil {
		return "", err
	}
	unix.Close(fd)
	return fmt.Sprint("descriptor ", fd), nil
}

func only(err error) (string, error) { return "", err }
