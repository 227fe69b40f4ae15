package endpoints

import (
	"slices"

	"github.com/preforkd/preforkd/master/service"
)

// Of thousands of services a reload leaves most alone. A Plan is about the others.

// changes returns the Specs whose listeners have to change, and the services that
// have listeners and no Spec.
func (s *Set) changes(specs []*service.Spec) (changed []*service.Spec, removed []string) {
	stay := make(map[string]bool, len(specs))
	for _, spec := range specs {
		stay[spec.Name] = true
		if !s.serves(spec) {
			changed = append(changed, spec)
		}
	}
	for _, name := range s.order {
		if !stay[name] && len(s.listeners[name]) > 0 {
			removed = append(removed, name)
		}
	}
	return changed, removed
}

// serves reports whether all listeners of a Spec are there already, and clients
// reach them.
func (s *Set) serves(spec *service.Spec) bool {
	listeners := s.listeners[spec.Name]
	return len(listeners) > 0 && !slices.ContainsFunc(listeners, func(l *Listener) bool { return l.Spec() != spec || l.Lost() != nil })
}

// names returns the services whose listeners change.
func (p *Plan) names() []string {
	names := slices.Clone(p.removed)
	for _, spec := range p.changed {
		names = append(names, spec.Name)
	}
	return names
}

// of returns the listeners that a Spec is to have.
func (p *Plan) of(spec *service.Spec) []*Listener {
	if listeners := p.listeners[spec.Name]; listeners != nil {
		return listeners
	}
	return p.set.listeners[spec.Name]
}
