package executable

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
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

// Check returns why a file cannot be executed though it is there, or nil: the
// interpreter does not exist that the first line of a script or the header of an
// ELF file names. The error wraps unix.ENOENT and starts in the middle of a
// sentence about the file. A file that cannot be read is not judged.
func Check(path string) error { return check(path, maxNesting) }

func check(path string, nesting int) error {
	// Without O_NONBLOCK the open of a FIFO waits for a writer, maybe for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
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
	switch _, err := os.Stat(interpreter); {
	case errors.Is(err, unix.ENOENT) && crlf:
		return fmt.Errorf("its first line ends in CR LF, as on Windows: its interpreter %q: %w", interpreter, unix.ENOENT)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("its interpreter %q: %w", interpreter, unix.ENOENT)
	case err != nil || nesting <= 1:
		return nil
	}
	return check(interpreter, nesting-1)
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
