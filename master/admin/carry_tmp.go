package admin

import "github.com/preforkd/preforkd/master/carry"

type State struct{}

func (s *Servers) Pause() error { return nil }
func (s *Servers) Resume()      {}
func (s *Servers) Export(d *carry.Descriptors) (State, error) {
	return State{}, nil
}
func (s *Servers) Restore(*State, *carry.Descriptors) error { return nil }
