package cgroup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// servicePrefix begins the names of the directories that Prepare may remove.
const servicePrefix = "service-"

// A Service is the cgroup of all connections of a service. Its methods may be called by
// several goroutines at once.
type Service struct {
	root      *Root
	directory directory
	park      func(f func()) // see Root.ParkIn

	mu          sync.Mutex // guards what follows; taken before that of root
	controllers []string   // that new leaves have
	fd          int        // descriptor of the directory, from which leaves are found
	made        int        // number of the newest leaf
	closed      bool
	// used are the leaves that RestoreLeaf and Leaf have made, until RemoveUnclaimed; nil
	// afterwards, and for a Service that was not restored.
	used map[string]bool
}

// Service makes the cgroup of a service with limits for all its connections together.
// The name is the one of the configuration. Each name can have one Service at a time.
func (r *Root) Service(name string, l Limits) (*Service, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock < 0 {
		return nil, errors.New("service of a cgroup that was not prepared")
	}
	base := directoryName(name)
	if r.services[base] != nil {
		return nil, fmt.Errorf("service %q has a cgroup already", name)
	}
	s := &Service{root: r, directory: absolute(filepath.Join(r.directory.path, base)), park: r.park}
	if err := s.directory.make(); err != nil {
		return nil, err
	}
	if err := s.open(l, r.enabled); err != nil {
		return nil, errors.Join(err, s.directory.removeOne())
	}
	r.services[base] = s
	return s, nil
}

// open completes a new directory.
func (s *Service) open(l Limits, controllers []string) (err error) {
	if err := s.handOn(controllers); err != nil {
		return err
	}
	if err := l.apply(s.directory, controllers, false); err != nil {
		return err
	}
	if s.fd, err = unix.Open(s.directory.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return s.directory.fail("open", "", err)
	}
	return nil
}

// handOn gives the leaves the controllers that they do not have yet.
func (s *Service) handOn(controllers []string) error {
	for _, c := range controllers {
		if slices.Contains(s.controllers, c) {
			continue
		}
		if err := s.directory.write("cgroup.subtree_control", "+"+c); err != nil {
			return err
		}
		s.controllers = append(slices.Clip(s.controllers), c) // older leaves keep their list
	}
	return nil
}

// refresh hands on what Prepare has enabled since the Service was made. The caller holds
// s.mu.
func (s *Service) refresh() error {
	s.root.mu.Lock()
	enabled := slices.Clone(s.root.enabled)
	s.root.mu.Unlock()
	return s.handOn(enabled)
}

// SetLimits changes the limits for all connections together. Less memory than is in use
// makes the kernel kill processes. On error some limits have changed.
func (s *Service) SetLimits(l Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return err
	}
	return l.apply(s.directory, s.controllers, true)
}

// Leaf makes a cgroup for one connection at a time. The caller must call its Close.
func (s *Service) Leaf(l Limits) (*Leaf, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("leaf of a cgroup that was closed: %s", s.directory.path)
	}
	if err := s.refresh(); err != nil {
		return nil, err
	}
	leaf, err := s.make()
	if err != nil {
		return nil, err
	}
	err = l.apply(leaf.directory, s.controllers, false)
	if err == nil && slices.Contains(s.controllers, "memory") {
		// When memory runs out the whole connection ends, and not the one process that
		// the kernel picks.
		err = leaf.directory.write("memory.oom.group", "1")
	}
	if err != nil {
		return nil, errors.Join(err, leaf.directory.removeOne())
	}
	return leaf, nil
}

// leafPrefix begins the names of leaves. A number follows.
const leafPrefix = "leaf-"

func (s *Service) leaf(name string, controllers []string) *Leaf {
	return &Leaf{
		service:     s,
		directory:   directory{at: s.fd, name: name, path: s.directory.path + "/" + name},
		controllers: controllers,
		peak:        -1,
	}
}

// make makes the directory of a leaf. The caller holds s.mu.
func (s *Service) make() (*Leaf, error) {
	for {
		s.made++
		leaf := s.leaf(leafPrefix+strconv.Itoa(s.made), s.controllers)
		err := leaf.directory.make()
		// A master that took over and has failed may have made some.
		if isErrno(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.used != nil {
			s.used[leaf.directory.name] = true
		}
		return leaf, nil
	}
}

// Close kills what is left of the connections of the service, and removes its cgroup with
// all leaves. Of their methods only Close may be called afterwards. After an error Close
// can be called again.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		unix.Close(s.fd)
	}
	if err := s.directory.removeAll(); err != nil {
		return err
	}
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	if base := filepath.Base(s.directory.path); s.root.services[base] == s {
		delete(s.root.services, base)
	}
	return nil
}

// maxName keeps the name of a directory below the 255 bytes that file systems have
// (NAME_MAX), with room for the prefix and a hash.
const maxName = 200

// directoryName returns the name of the directory of a service. What is not a letter, a
// digit, "_", "-" or "." is written as % and two hexadecimal digits. A long name ends
// with %% and a hash. So no two services have the same directory.
func directoryName(service string) string {
	var b strings.Builder
	for i := range len(service) {
		switch c := service[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if len(name) > maxName {
		hash := sha256.Sum256([]byte(service))
		name = fmt.Sprintf("%s%%%%%x", name[:maxName-34], hash[:16])
	}
	return servicePrefix + name
}
