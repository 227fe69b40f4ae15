package box

import (
	"errors"
	"fmt"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// A Learning is a box that denies what another one denies, and in which it is learned
// what programs use.
type Learning struct {
	box     *Box
	learner *observe.Learner
}

// Learn makes a Learning of a service from the box that it has, nil for none, and tries
// it. As with Box, the box is closed once Use is called without it and nothing runs in it.
func (m *Manager) Learn(service string, like process.Box) (*Learning, error) {
	if err := observe.Supported(); err != nil {
		return nil, fmt.Errorf("system calls cannot be observed here: needs Linux 5.9, and no filter above the master that is observed itself: %w", err)
	}
	cfg := config.PresetBox(config.BoxNone)
	if like != nil {
		cfg = like.(*Box).cfg
	}
	if !cfg.UsesCgroup() {
		service = ""
	}
	m.mu.Lock()
	s, err := m.share()
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	l := &Learning{learner: &observe.Learner{}}
	l.box, err = m.newChecked(s, service, &cfg, l.learner)
	if missing, ok := errors.AsType[*MissingError](err); ok && missing.Key == "" {
		return nil, fmt.Errorf("without no-new-privileges, its system calls can be observed only by a master with CAP_SYS_ADMIN: set box.no-new-privileges = true or box.preset = \"basic\", and learn again")
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boxes = append(m.boxes, l.box)
	return l, nil
}

// Box returns the box, for a command.
func (l *Learning) Box() process.Box { return l.box }

// Result returns what is known so far.
func (l *Learning) Result() observe.Result { return l.learner.Result() }

// learns reports whether the box is that of a Learning.
func (b *Box) learns() bool { return b.set.subject != nil && b.set.subject.Learner != nil }
