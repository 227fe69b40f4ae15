package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// What is not carried: the number of the newest leaf, because Service.make skips those that
// are there; the controllers that a kernel lacks; leaves that nobody is in, which are made
// again (RemoveUnclaimed).

// A State is a Root in the state that a master hands to the next one. The lock goes over
// with its descriptor (flock(2)): in between nobody can take the cgroup.
type State struct {
	Path        string         `json:"path"`
	Own         string         `json:"own"` // the cgroup of the master
	Lock        carry.FD       `json:"lock"`
	Controllers []string       `json:"controllers"`
	Services    []ServiceState `json:"services"`
}

// A ServiceState is a Service.
type ServiceState struct {
	Name        string   `json:"name"`
	Directory   carry.FD `json:"directory"`
	Controllers []string `json:"controllers"`
}

// A LeafState is a Leaf that processes have been in.
type LeafState struct {
	Service     string   `json:"service"`
	Name        string   `json:"name"`
	Controllers []string `json:"controllers"`
	// Peak is a descriptor of memory.peak that counts since Begin, or none.
	Peak  carry.FD      `json:"peak"`
	Start CountersState `json:"start"`
}

// A CountersState is what the files of a leaf said at Begin.
type CountersState struct {
	OOMKills        uint64 `json:"oom_kills"`
	MemoryMax       uint64 `json:"memory_max"`
	TasksMax        uint64 `json:"tasks_max"`
	CPUThrottled    uint64 `json:"cpu_throttled"`
	CPUMicroseconds uint64 `json:"cpu_microseconds"`
	MemoryPeak      uint64 `json:"memory_peak"`
	TasksPeak       uint64 `json:"tasks_peak"`
}

// Export returns the state of the Root and of the Services with these names, nil if the
// Root has not been prepared.
func (r *Root) Export(names []string, d *carry.Descriptors) *State {
	r.mu.Lock()
	if r.lock < 0 {
		r.mu.Unlock()
		return nil
	}
	state := &State{Path: r.directory.path, Own: r.own, Lock: d.Keep(r.lock), Controllers: slices.Clone(r.enabled)}
	services := maps.Clone(r.services)
	r.mu.Unlock()
	for _, name := range names {
		s := services[directoryName(name)]
		if s == nil {
			continue
		}
		s.mu.Lock()
		state.Services = append(state.Services, ServiceState{Name: name, Directory: d.Keep(s.fd), Controllers: slices.Clone(s.controllers)})
		s.mu.Unlock()
	}
	return state
}

// Restore makes the Root again, and returns its Services by their names. It touches no file.
func Restore(state *State, d *carry.Descriptors) (*Root, map[string]*Service, error) {
	for _, path := range []string{state.Path, state.Own} {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
			return nil, nil, fmt.Errorf("the cgroup %q is no clean absolute path", path)
		}
	}
	r := &Root{
		directory: absolute(state.Path), own: state.Own, enabled: slices.Clone(state.Controllers),
		services: map[string]*Service{}, park: func(f func()) { f() },
	}
	var err error
	if r.lock, err = d.Take(state.Lock); err == nil && r.lock < 0 {
		err = errors.New("it is not locked")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the cgroup %s: %w", state.Path, err)
	}
	byName := map[string]*Service{}
	for _, one := range state.Services {
		base := directoryName(one.Name)
		if r.services[base] != nil {
			return nil, nil, fmt.Errorf("the service %q has two cgroups", one.Name)
		}
		s := &Service{root: r, directory: absolute(filepath.Join(state.Path, base)), controllers: slices.Clone(one.Controllers), used: map[string]bool{}}
		// What it parks is parked where the Root says by then.
		s.park = func(f func()) { r.park(f) }
		if s.fd, err = d.Take(one.Directory); err == nil && s.fd < 0 {
			err = errors.New("it is not open")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the cgroup of service %q: %w", one.Name, err)
		}
		r.services[base], byName[one.Name] = s, s
	}
	return r, byName, nil
}

// Export returns the state of the leaf, of the service with this name. It keeps a copy of a
// parked descriptor that lend makes (fdpark.Thread.Lend), and returns it, or -1. The caller
// closes that if nobody takes over.
func (l *Leaf) Export(service string, lend func(parked int) (fd int, err error), d *carry.Descriptors) (s LeafState, lent int, err error) {
	was := &l.start
	s = LeafState{
		Service: service, Name: l.directory.name, Controllers: slices.Clone(l.controllers), Peak: carry.None,
		Start: CountersState{was.oomKills, was.memoryMax, was.tasksMax, was.throttled, was.cpuMicroseconds, was.memoryPeak, was.tasksPeak},
	}
	switch {
	case !l.reset:
		return s, -1, nil
	case l.near:
		s.Peak = d.Keep(l.peak)
		return s, -1, nil
	}
	lent, err = lend(l.peak)
	if err != nil {
		return s, -1, fmt.Errorf("%s: lend the descriptor of memory.peak: %w", l.directory.path, err)
	}
	s.Peak = d.Keep(lent)
	return s, lent, nil
}

// RestoreLeaf makes a leaf again. Processes may be in it.
func (s *Service) RestoreLeaf(state *LeafState, d *carry.Descriptors) (*Leaf, error) {
	number, found := strings.CutPrefix(state.Name, leafPrefix)
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 0 || n > 1<<62 || strconv.Itoa(n) != number {
		return nil, fmt.Errorf("%q is no name of a leaf", state.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[state.Name] {
		return nil, fmt.Errorf("the leaf %s of service %q has two owners", state.Name, state.Service)
	}
	peak, err := d.Take(state.Peak)
	if err != nil {
		return nil, fmt.Errorf("the leaf %s of service %q: %w", state.Name, state.Service, err)
	}
	if s.used != nil {
		s.used[state.Name] = true
	}
	s.made = max(s.made, n)
	l := s.leaf(state.Name, slices.Clone(state.Controllers))
	was := &state.Start
	l.used, l.peak, l.reset, l.near = true, peak, peak >= 0, peak >= 0
	l.start = counters{was.OOMKills, was.MemoryMax, was.TasksMax, was.CPUThrottled, was.CPUMicroseconds, was.MemoryPeak, was.TasksPeak}
	return l, nil
}

// ParkPeak moves a descriptor that was carried to where those of other leaves are, by
// parkCopy, which returns the number of a copy there (fdpark.Thread.Park).
func (l *Leaf) ParkPeak(parkCopy func(fd int) (parked int, err error)) error {
	if !l.near {
		return nil
	}
	parked, err := parkCopy(l.peak)
	if err != nil {
		return err
	}
	unix.Close(l.peak)
	l.peak, l.near = parked, false
	return nil
}

// RemoveUnclaimed removes the leaves of a restored Service that neither RestoreLeaf nor Leaf
// has made: the master before has left them, or one that took over and has failed. It
// kills what is in them. It may be called once.
func (s *Service) RemoveUnclaimed() error {
	s.mu.Lock()
	if s.closed || s.used == nil {
		s.mu.Unlock()
		return nil
	}
	used := s.used
	s.used = nil
	entries, err := os.ReadDir(s.directory.path)
	s.mu.Unlock() // whose leaves from now on have other names
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), leafPrefix) && !used[e.Name()] {
			errs = append(errs, absolute(filepath.Join(s.directory.path, e.Name())).removeAll())
		}
	}
	return errors.Join(errs...)
}
