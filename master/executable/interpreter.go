package executable

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxFirstLine is how much of a script the kernel looks at
	// (BINPRM_BUF_SIZE in linux/binfmts.h).
	maxFirstLine = 256
	// maxNesting is how many scripts may be each other's interpreters
	// (execve(2)).
	maxNesting = 5
)

// An Opener opens a file for reading that whoever executes it finds at a path. It must
// not wait for the other end of a FIFO.
type Opener func(path string) (*os.File, error)

// Open opens a file of this machine.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// Check returns why a file cannot be executed though it is there, or nil: the
// interpreter does not exist that the first line of a script or the header of an
// ELF file names. The error wraps unix.ENOENT and starts in the middle of a
// sentence about the file. A file that cannot be read is not judged.
func Check(path string, open Opener) error {
	file, err := open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	return check(file, open, maxNesting)
}

func check(file *os.File, open Opener, nesting int) error {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	start := make([]byte, maxFirstLine)
	n, _ := io.ReadFull(file, start)
	start = start[:n]
	interpreter, crlf := "", false
	switch {
	case bytes.HasPrefix(start, []byte("#!")):
		interpreter, crlf = ofScript(start)
	case bytes.HasPrefix(start, []byte(elf.ELFMAG)):
		interpreter = ofELF(file)
	}
	// A relative one is looked for in the directory of whoever executes it.
	if !filepath.IsAbs(interpreter) {
		return nil
	}
	next, err := open(interpreter)
	switch {
	case errors.Is(err, unix.ENOENT) && crlf:
		return fmt.Errorf("its first line ends in CR LF, as on Windows: its interpreter %q: %w", interpreter, bare(err))
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("its interpreter %q: %w", interpreter, bare(err))
	case err != nil:
		return nil
	}
	defer next.Close()
	if nesting <= 1 {
		return nil
	}
	return check(next, open, nesting-1)
}

// bare returns an error without the path that package os puts in front.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// ofScript returns the interpreter that the first line of a script names, and
// whether a carriage return belongs to the name.
func ofScript(start []byte) (interpreter string, crlf bool) {
	line, _, _ := bytes.Cut(start[len("#!"):], []byte("\n"))
	// The kernel separates the name from its argument at blanks and tabs only.
	words := strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) == 0 {
		return "", false
	}
	return words[0], strings.HasSuffix(words[0], "\r")
}

// ofELF returns the dynamic linker that an ELF file asks for, "" for none.
func ofELF(file io.ReaderAt) string {
	f, err := elf.NewFile(file)
	if err != nil {
		return ""
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz == 0 || p.Filesz > unix.PathMax {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return ""
		}
		return string(bytes.TrimRight(name, "\x00"))
	}
	return ""
}
