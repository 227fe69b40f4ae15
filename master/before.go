package master

import (
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/service"
)

// before is what was in force when a reload began. What a file says as it did then
// is not compiled again. A nil before is nothing.
type before struct {
	cfg      config.Config
	services []*service.Service
	specs    map[string]*service.Spec // by service, made by find
}

// present returns what is in force.
func (s *services) present() *before { return &before{cfg: s.cfg, services: s.inForce} }

// find finds the Specs in force. Of thousands that takes too long for the loop.
func (b *before) find() {
	b.specs = make(map[string]*service.Spec, len(b.services))
	for _, svc := range b.services {
		// One that drains gets new listeners, and one that is learned from has a box of
		// its own for the moment.
		if spec := svc.Spec(); !svc.Draining() && !spec.IsCopy() {
			b.specs[svc.Name] = spec
		}
	}
}

// spec returns the Spec of a service, nil if there is none that could stay.
func (b *before) spec(name string) *service.Spec {
	if b == nil {
		return nil
	}
	return b.specs[name]
}

// base returns what a load of the configuration begins with.
func (b *before) base() *config.Base {
	return &config.Base{Config: &b.cfg, Service: func(name string) *config.Service {
		if spec := b.spec(name); spec != nil {
			return &spec.Service
		}
		return nil
	}}
}
