package service

import (
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// servedByWorker reports whether the worker binary itself serves the connections, and is
// what is started for them.
func (s *Spec) servedByWorker(cfg *config.Config) bool { return s.Handler != "" && len(cfg.Wrap) == 0 }

// fitBox makes the box of a service, nil if it has none, whose connections the executable
// at a path begins. confines is what config.Box.ConfinesHandler says of what was made.
//
// A handler's default box is for the worker binary alone: no tool that wraps it could work
// with so little.
func (s *Spec) fitBox(cfg *config.Config, worker string, boxes Boxes) (made process.Box, confines bool, err error) {
	if boxes == nil {
		return nil, false, nil
	}
	if !s.servedByWorker(cfg) {
		worker = ""
		if len(s.Box.Implied) > 0 {
			s.Box = s.Box.Written() // the status shows it
		}
	}
	if made, s.missing, err = boxes.Fit(s.Name, &s.Box, worker); err != nil || made == nil {
		return nil, false, err
	}
	left := s.Box
	for _, m := range s.missing {
		left = left.Without(m.Key)
	}
	return made, left.ConfinesHandler(), nil
}
