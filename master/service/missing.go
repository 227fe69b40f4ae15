package service

import (
	"slices"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/logging"
)

// missingNews returns what the box of the Spec in force lacks and did not lack when
// it was last asked, for the log.
func (s *Service) missingNews() (news []*box.MissingError) {
	missing := s.Spec().MissingFromBox()
	if len(missing) == 0 {
		s.missingTold = nil
		return nil
	}
	told := map[string]bool{}
	for _, m := range missing {
		told[m.Key] = true
		if !s.missingTold[m.Key] {
			news = append(news, m)
		}
	}
	s.missingTold = told
	return news
}

// LogMissing says what the boxes of services lack, once for each service and key. What
// they have by default only is one line of log for all services that lack the same:
// nobody has asked for it. The master's loop calls it.
func LogMissing(services []*Service, log *zap.Logger) {
	type lack struct {
		keys, needs string
		names       []string
	}
	var lacks []*lack
	byDefault := map[string]*lack{} // by needs
	for _, s := range services {
		b := s.Spec().Box
		var implied []*box.MissingError
		for _, missing := range s.missingNews() {
			if slices.Contains(b.Implied, missing.Key) {
				implied = append(implied, missing)
				continue
			}
			s.Log.Warn(logging.EventBoxIncomplete, zap.String("key", missing.Key), logging.Error(missing))
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
		l.names = append(l.names, s.Name)
	}
	for _, l := range lacks {
		log.Info(logging.EventBoxIncomplete, zap.Strings("services", l.names), zap.String("key", l.keys), zap.String("error", l.needs))
	}
}
