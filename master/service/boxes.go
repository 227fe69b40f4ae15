package service

import (
	"slices"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
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

// renewUnfit renews the services that a load has kept and of whose boxes the machine no
// longer lacks what it did.
func renewUnfit(cfg *config.Config, boxes Boxes, before func(name string) *Spec) {
	same := map[*config.Box]bool{} // thousands of services may have the same one
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.Kept() || boxes == nil {
			continue
		}
		old := before(s.Name)
		if len(old.missing) == 0 {
			continue
		}
		fits, known := same[old.Box]
		if !known {
			fits = old.fitsAsBefore(boxes)
			same[old.Box] = fits
		}
		if !fits {
			s.Renew()
		}
	}
}

// fitsAsBefore reports whether the box of a Spec would be made of the same once more.
func (s *Spec) fitsAsBefore(boxes Boxes) bool {
	handler := ""
	if s.worker.Handler {
		handler = s.worker.Path
	}
	made, missing, err := boxes.Fit(s.Name, s.Box, handler)
	return err == nil && made == s.worker.Box && slices.EqualFunc(missing, s.missing, func(a, b *box.MissingError) bool {
		return a.Key == b.Key && a.Need() == b.Need()
	})
}
