package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/executable"
)

// A finder finds files where the workers of a service find them: on this machine, or in
// their box.
type finder struct {
	view *mounts.View // nil: on this machine
	root string       // the box's root-directory, for errors
	// blind says that the box cannot be looked into from here. Nothing is said of
	// its files then.
	blind bool
	known *lookups // of programs on this machine
}

// newFinder returns the finder of a service. It returns no finder if there can be no
// such box on any machine, and why. Otherwise the caller must call close.
func (s *Service) newFinder() (*finder, []error) {
	if !s.Box.HasMounts() {
		return &finder{}, nil
	}
	view, errs := mounts.NewView(s.Box.Mounts())
	wrong := errs[:0:0]
	for _, err := range errs {
		// This user may not see all that the master may, and what this machine cannot
		// give is found out when the box is made.
		if _, missing := errors.AsType[*mounts.MissingError](err); !missing && !errors.Is(err, fs.ErrPermission) {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return &finder{view: view, root: s.Box.RootDirectory, blind: view == nil}, nil
}

func (f *finder) close() {
	if f.view != nil {
		f.view.Close()
	}
}

// where returns the end of an error about a file that is looked for elsewhere than on
// the machine.
func (f *finder) where() string {
	if f.root == "" {
		return ""
	}
	return fmt.Sprintf(" (in root-directory %s)", f.root)
}

// isDirectory returns why there is no directory at a path, or nil.
func (f *finder) isDirectory(path string) error {
	var is bool
	var err error
	switch {
	case f.blind:
		return nil
	case f.view != nil:
		is, err = f.view.IsDirectory(path)
	default:
		var info fs.FileInfo
		if info, err = os.Stat(path); err == nil {
			is = info.IsDir()
		}
		err = bareErrno(err)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w%s", err, f.where())
	case !is:
		return fmt.Errorf("is not a directory%s", f.where())
	}
	return nil
}

// validateDirectory checks whether workers find their directory.
func (s *Service) validateDirectory(v validator, f *finder) {
	if s.Directory == "" {
		return
	}
	if !strings.HasPrefix(s.Directory, "/") {
		v.report("directory", s.Directory, "must be an absolute path")
	} else if err := f.isDirectory(s.Directory); err != nil {
		v.report("directory", s.Directory, "%v", err)
	}
}

// program returns the absolute path of an executable, as the workers have it. It looks
// in PATH for a name without a slash, as execvp(3) does. Errors start with the name.
func (f *finder) program(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New(`"": the name is empty`)
	case f.view == nil && !(f.blind && filepath.IsAbs(name)):
		return f.known.program(name)
	case f.blind:
		return name, nil
	}
	path, err := f.lookPath(name)
	if err == nil {
		err = executable.Check(path, f.view.Open)
	}
	if err != nil {
		return "", fmt.Errorf("%q: %w%s", name, err, f.where())
	}
	return path, nil
}

// lookPath is exec.LookPath in the view.
func (f *finder) lookPath(name string) (string, error) {
	if !strings.Contains(name, "/") {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			path := filepath.Join(dir, name)
			if filepath.IsAbs(dir) && f.view.CheckExecutable(path) == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("%w in PATH", fs.ErrNotExist)
	}
	path := name
	if !filepath.IsAbs(path) {
		if f.root != "" {
			return "", errors.New("must be an absolute path, or a name to be found in PATH")
		}
		var err error
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
	}
	return path, executableError(f.view.CheckExecutable(path))
}

// A notExecutableError says that the mode of a file, or of a directory above it, does
// not let this user execute it.
type notExecutableError struct{}

func (notExecutableError) Error() string {
	return "not an executable file, or not one that this user may execute"
}

func (notExecutableError) Unwrap() error { return fs.ErrPermission }

// executableError returns what an error means for a file that is to be executed.
func executableError(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return errors.New("is not a regular file") // the kernel executes nothing else (execve(2))
	case errors.Is(err, fs.ErrPermission):
		return notExecutableError{}
	}
	return err
}

// findProgram is finder.program on this machine.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return "", fmt.Errorf("%q: %w", name, executableError(unix.EINVAL))
		}
		if err := executable.Check(path, executable.Open); err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		return path, nil
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%q: %w in PATH", name, fs.ErrNotExist)
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%q: found in the working directory only; write ./%s", name, name)
	}
	// LookPath has put the name around the reason.
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	return "", fmt.Errorf("%q: %w", name, executableError(err))
}

// find calls a function with the finder of a service.
func (s *Service) find(known *lookups, do func(f *finder) error) error {
	f, errs := s.newFinder()
	if errs != nil {
		return fmt.Errorf("box: %w", errors.Join(errs...))
	}
	defer f.close()
	f.known = known
	return do(f)
}

// FindProgram returns the absolute path that the workers of the service have a program
// at, as Commands looks for it. The error starts with the name.
func (s *Service) FindProgram(name string) (path string, err error) {
	err = s.find(nil, func(f *finder) error {
		path, err = f.program(name)
		return err
	})
	return path, err
}
