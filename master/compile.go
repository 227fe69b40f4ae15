package master

import (
	"fmt"

	"github.com/preforkd/preforkd/master/admin"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/service"
)

// A compiled is a configuration that is ready to be put in force: nothing is left
// to be looked up.
type compiled struct {
	cfg   config.Config
	specs []*service.Spec
	admin admin.Plan
	// insteadOf holds for Specs that differ from one in force which one that was.
	insteadOf map[*service.Spec]*service.Spec
	// keepsDrains says that it brings back no service that is drained.
	keepsDrains bool
}

// compile makes a configuration ready. It may take as long as name servers and
// file systems do, and does not belong on the loop. before is what was in force
// when the configuration was loaded, nil for nothing: its Specs take the place of
// those that mean the same.
func (s *services) compile(cfg *config.Config, before *before) (*compiled, error) {
	files := service.Files{Null: s.null, Stderr: s.stderr, Binaries: s.binaries}
	if s.boxes != nil {
		files.Boxes = s.boxes
	}
	specs, err := service.Compile(cfg, files, before.spec)
	if err != nil {
		return nil, err
	}
	c := &compiled{specs: specs, insteadOf: map[*service.Spec]*service.Spec{}}
	for i, spec := range specs {
		if spec.Umask.Set && s.umaskErr != nil {
			return nil, fmt.Errorf("service %s: umask: %w", spec.Name, s.umaskErr)
		}
		switch old := before.spec(spec.Name); {
		case old == nil:
		case old.Equal(spec):
			specs[i] = old
		default:
			c.insteadOf[spec] = old
		}
	}
	if c.admin, err = admin.NewPlan(cfg); err != nil {
		return nil, err
	}
	c.cfg = cfg.InForce()
	return c, nil
}

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
