package service

import (
	"github.com/preforkd/preforkd/master/process"
)

// fitBox makes the box of a service, nil if it has none. handler is the path of the worker
// binary where that serves, or "". confines is what config.Box.ConfinesHandler says of what
// was made.
func (s *Spec) fitBox(handler string, boxes Boxes) (made process.Box, confines bool, err error) {
	if boxes == nil {
		return nil, false, nil
	}
	if made, s.missing, err = boxes.Fit(s.Name, s.Box, handler); err != nil || made == nil {
		return nil, false, err
	}
	left := *s.Box
	for _, m := range s.missing {
		left = left.Without(m.Key)
	}
	return made, left.ConfinesHandler(), nil
}
