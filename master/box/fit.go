package box

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// Fit returns the box that a service asks for, as Box does, but without those of
// the box's keys that may be missing and that this machine cannot give. It returns what
// they lack, in the order in which it was found out.
//
// handler is the path of the worker binary where that serves by itself
// (process.Command.Handler), and "" for programs.
func (m *Manager) Fit(service string, cfg *config.Box, handler string) (process.Box, []*MissingError, error) {
	known := m.recall(cfg, handler)
	b, missing, err := m.fit(service, known, handler, cfg.MayLack)
	if err == nil {
		m.remember(fitting{cfg: *cfg, handler: handler, box: known.box, missing: missing})
	}
	return b, missing, err
}

// Probe is Fit as if every key were optional.
func (m *Manager) Probe(service string, cfg *config.Box, handler string) (process.Box, []*MissingError, error) {
	return m.fit(service, &fitting{box: *cfg}, handler, func(string) bool { return true })
}

// fit makes the box of a fitting, which it takes keys out of that may be missing and are.
func (m *Manager) fit(service string, f *fitting, handler string, mayLack func(key string) bool) (process.Box, []*MissingError, error) {
	missing := f.missing
	for {
		lacks := lacksForHandler(&f.box, handler)
		var b process.Box
		var err error
		if lacks == nil {
			b, err = m.Box(service, &f.box)
			lacks, _ = errors.AsType[*MissingError](err)
		} else {
			err = lacks
		}
		if lacks == nil && err != nil && len(f.box.Implied) > 0 && !m.closed.Load() {
			// Nobody has asked for this box, and so it is nobody's error.
			lacks = &MissingError{Key: f.box.Implied[0], Missing: "a machine that can make it", Err: err, Remedy: "nothing is known that would help"}
		}
		if lacks == nil || !mayLack(lacks.Key) {
			return b, missing, err
		}
		next := f.box.Without(lacks.Key)
		if !f.box.Asks(lacks.Key) || next.Asks(lacks.Key) {
			return nil, missing, err // it would go on like that
		}
		missing = append(missing, lacks)
		next.Implied = slices.DeleteFunc(slices.Clone(next.Implied), func(key string) bool { return !next.Asks(key) })
		f.box = next
	}
}

// lacksForHandler returns what a box lacks in which the worker binary serves.
func lacksForHandler(b *config.Box, handler string) *MissingError {
	const everybody = 0o001
	if handler == "" || !b.DynamicUser {
		return nil
	}
	if info, err := os.Stat(handler); err != nil || info.Mode()&everybody != 0 {
		return nil // what is wrong with it is told when it is executed
	}
	return &MissingError{Key: "dynamic-user", Missing: "a worker binary that every user may execute", Remedy: "chmod a+x " + handler}
}

// A fitting is a box that was made without what is missing here. Services that ask for the
// same, one after the other, find it: of thousands each would try all of it again.
type fitting struct {
	cfg     config.Box // as it was asked for
	handler string
	box     config.Box // as it was made
	missing []*MissingError
	used    time.Time // when somebody has asked for it last
}

// recall returns the fitting of a configuration, or one to begin with. It is the caller's.
func (m *Manager) recall(cfg *config.Box, handler string) *fitting {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fittings = slices.DeleteFunc(m.fittings, func(f fitting) bool { return time.Since(f.used) >= checkedFor })
	for i := range m.fittings {
		f := &m.fittings[i]
		if f.handler == handler && reflect.DeepEqual(&f.cfg, cfg) {
			f.used = time.Now()
			return &fitting{box: f.box, missing: slices.Clone(f.missing)}
		}
	}
	return &fitting{box: *cfg}
}

// remember keeps a fitting in which something is missing.
func (m *Manager) remember(f fitting) {
	if len(f.missing) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.used = time.Now()
	if !slices.ContainsFunc(m.fittings, func(other fitting) bool { return other.handler == f.handler && reflect.DeepEqual(other.cfg, f.cfg) }) {
		m.fittings = append(m.fittings, f)
	}
}

// Summarize returns the keys that lack something, and in one line what they need: keys
// that need the same together.
func Summarize(missing []*MissingError) (keys, needs string) {
	var all, order []string
	byNeed := map[string][]string{}
	for _, m := range missing {
		all = append(all, m.Key)
		need := m.Need() + ": " + m.Remedy
		if byNeed[need] == nil {
			order = append(order, need)
		}
		byNeed[need] = append(byNeed[need], m.Key)
	}
	for i, need := range order {
		order[i] = strings.Join(byNeed[need], ", ") + ": " + need
	}
	return strings.Join(all, ", "), strings.Join(order, "; ")
}
