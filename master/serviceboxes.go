package master

import (
	"slices"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

func (s *services) closeBoxes() {
	if s.boxes != nil {
		s.boxes.Close()
	}
}

// useBoxes tells which boxes the services in force have.
func (s *services) useBoxes() {
	if s.boxes == nil {
		return
	}
	var used []process.Box
	for _, svc := range s.inForce {
		used = append(used, svc.Spec().ProcessBoxes()...)
	}
	s.boxes.Use(used)
}

// logMissing says what the boxes of the services in force lack, once for each service
// and key. What they have by default only is one line for all services that lack the
// same: nobody has asked for it.
func (s *services) logMissing() {
	type lack struct {
		keys, needs string
		names       []string
	}
	var lacks []*lack
	byDefault := map[string]*lack{} // by needs
	for _, svc := range s.inForce {
		b := svc.Spec().Box
		var implied []*box.MissingError
		for _, missing := range svc.MissingNews() {
			if slices.Contains(b.Implied, missing.Key) {
				implied = append(implied, missing)
				continue
			}
			svc.Log.Warn(logging.EventBoxIncomplete, zap.String("key", missing.Key), logging.Error(missing))
		}
		if len(implied) == 0 {
			continue
		}
		keys, needs := box.Summarize(implied)
		l := byDefault[needs]
		if l == nil {
			l = &lack{keys: keys, needs: needs}
			lacks, byDefault[needs] = append(lacks, l), l
		}
		l.names = append(l.names, svc.Name)
	}
	for _, l := range lacks {
		s.log.Info(logging.EventBoxIncomplete, zap.Strings("services", l.names), zap.String("key", l.keys), zap.String("error", l.needs))
	}
}
