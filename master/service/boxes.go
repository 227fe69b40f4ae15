package service

import (
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// fitted are the boxes of a service; nil where it has none.
type fitted struct {
	handler process.Box // of what serves all connections but those of some rules
	program process.Box // of programs that rules name
	// confines says that what is made of the handler's box is as config.Box.ConfinesHandler
	// tells.
	confines bool
}

// servedByWorker reports whether the worker binary itself serves the connections, and is
// what is started for them.
func (s *Spec) servedByWorker(cfg *config.Config) bool { return s.Handler != "" && len(cfg.Wrap) == 0 }

// fitBoxes makes the boxes of a service, whose connections the executable at a path begins.
//
// A handler's default box is for the worker binary alone: neither a tool that wraps it nor
// a program that a rule puts in its place could work with so little.
func (s *Spec) fitBoxes(cfg *config.Config, worker string, boxes Boxes) (f fitted, err error) {
	if boxes == nil {
		return f, nil
	}
	wanted := s.Service.Box
	written := wanted.Written()
	handler := worker
	if !s.servedByWorker(cfg) {
		handler = ""
		if len(wanted.Implied) > 0 {
			wanted, s.Service.Box = written, written // the status shows it
		}
	}
	if f.handler, s.missing, err = boxes.Fit(s.Name, &wanted, handler); err != nil {
		return f, err
	}
	made := wanted
	for _, m := range s.missing {
		made = made.Without(m.Key)
	}
	f.confines = f.handler != nil && made.ConfinesHandler()
	if !s.hasPrograms() {
		return f, nil
	}
	if len(wanted.Implied) == 0 {
		f.program = f.handler
		return f, nil
	}
	f.program, _, err = boxes.Fit(s.Name, &written, "")
	return f, err
}

// hasPrograms reports whether a rule of the service names a program.
func (s *Spec) hasPrograms() bool {
	for i := range s.Service.Rules {
		if len(s.Service.Rules[i].Program) > 0 {
			return true
		}
	}
	return false
}
