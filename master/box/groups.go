package box

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// groups are the cgroups of services. There are none until a box asks for limits that
// only a cgroup has.
type groups struct {
	log *zap.Logger

	mu          sync.Mutex // guards what follows
	root        *cgroup.Root
	park        *fdpark.Thread
	controllers []string          // that root was prepared for
	services    map[string]*group // by the name of the service
}

// A group is the cgroup of a service. Its boxes share it: after a reload there may be
// two.
type group struct {
	of      *groups
	name    string
	service *cgroup.Service
	boxes   int
}

// open returns the cgroup of a service for a box, which must close it.
func (g *groups) open(name string, b *config.Box) (*group, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	limits, own := cgroupLimits(&b.ServiceCgroup), cgroupLimits(&b.Cgroup)
	if err := g.prepare(slices.Concat(limits.Controllers(), own.Controllers())); err != nil {
		return nil, explainCgroup(b, err)
	}
	s := g.services[name]
	if s == nil {
		service, err := g.root.Service(name, limits)
		if err != nil {
			return nil, explainCgroup(b, err)
		}
		s = &group{of: g, name: name, service: service}
		if g.services == nil {
			g.services = map[string]*group{}
		}
		g.services[name] = s
	}
	s.boxes++
	return s, nil
}

// prepare makes the root ready for some controllers. The lock is held.
func (g *groups) prepare(controllers []string) (err error) {
	if g.root == nil {
		root, err := cgroup.Locate()
		if err != nil {
			return err
		}
		// Each descriptor of the master makes its forks slower.
		if g.park, err = fdpark.Open(); err != nil {
			return err
		}
		root.ParkIn(g.park.Do)
		g.root = root
	}
	all := slices.Concat(g.controllers, controllers)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(g.controllers) > 0 && len(all) == len(g.controllers) {
		return nil
	}
	if err := g.root.Missing(all); err != nil {
		return err
	}
	killed, err := g.root.Prepare(all)
	if err != nil {
		return err
	}
	if killed > 0 {
		g.log.Info("cgroup", logging.Reason("left by an earlier master, and removed"), zap.Int("services", killed))
	}
	g.controllers = all
	return nil
}

// setLimits gives the cgroup the limits that the configuration in force has.
func (s *group) setLimits(b *config.Box) {
	if err := s.service.SetLimits(cgroupLimits(&b.ServiceCgroup)); err != nil {
		s.of.log.Warn("cgroup", logging.Service(s.name), logging.Error(err))
	}
}

// close gives the cgroup up for one box.
func (s *group) close() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.boxes--; s.boxes > 0 {
		return
	}
	delete(s.of.services, s.name)
	if err := s.service.Close(); err != nil {
		s.of.log.Warn("cgroup", logging.Service(s.name), logging.Error(err))
	}
}

// close ends the groups, of which no box has any.
func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root != nil {
		g.root.Close()
		g.park.Close()
		g.root = nil
	}
}

func cgroupLimits(l *config.CgroupLimits) cgroup.Limits {
	limits := cgroup.Limits{
		MemoryMax: uint64(l.MemoryMax), MemoryHigh: uint64(l.MemoryHigh), TasksMax: l.TasksMax,
		CPUQuota: l.CPUQuota, CPUWeight: l.CPUWeight, IOWeight: l.IOWeight,
	}
	if l.MemorySwapMax != nil {
		swap := uint64(*l.MemorySwapMax)
		limits.MemorySwapMax = &swap
	}
	return limits
}

// explainCgroup makes an error of cgroups one that names the key.
func explainCgroup(b *config.Box, err error) error {
	if missing, ok := errors.AsType[*cgroup.MissingError](err); ok {
		key := b.CgroupKeys()[0]
		if lack, ok := errors.AsType[*cgroup.LackError](err); ok {
			key = keyOfLack(b, lack.Names)
		}
		return &MissingError{Key: key, Missing: "a cgroup to divide", Remedy: missing.Remedy, Err: errors.New(missing.Missing)}
	}
	return fmt.Errorf("%s: %w", b.CgroupKeys()[0], err)
}

// limitFiles holds, by the keys of limits, the files of a cgroup that have them
// (Documentation/admin-guide/cgroup-v2.rst).
var limitFiles = map[string]string{
	"memory-max": "memory.max", "memory-high": "memory.high", "memory-swap-max": "memory.swap.max", "tasks-max": "pids.max",
	"cpu-quota": "cpu.max", "cpu-weight": "cpu.weight", "io-weight": "io.weight",
}

// keyOfLack returns a key of the box for which a cgroup lacks a file or a controller.
func keyOfLack(b *config.Box, names []string) string {
	keys := b.CgroupKeys()
	for _, key := range keys {
		file := limitFiles[strings.TrimPrefix(key, "service-")]
		controller, _, _ := strings.Cut(file, ".")
		if slices.Contains(names, file) || slices.Contains(names, controller) {
			return key
		}
	}
	return keys[0]
}

// usage returns what has been used in a leaf since it was begun.
func usage(l *cgroup.Leaf) *process.CellUsage {
	r, err := l.Result()
	if err != nil {
		return nil
	}
	return &process.CellUsage{
		OOMKills: r.OOMKills, TasksRefused: r.TasksMaxHits, CPUThrottled: r.CPUThrottled,
		CPUTime: r.CPUTime, MemoryPeak: r.MemoryPeak, TasksPeak: r.TasksPeak,
	}
}
