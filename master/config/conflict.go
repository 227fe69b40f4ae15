package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// A listing is one entry of a list of addresses in the configuration, or the
// address of the metrics.
type listing struct {
	config    *Config
	service   *Service // nil: the metrics
	nth       int      // among those of the service
	address   Address  // as it is written
	order     int
	reusePort bool
	v6Only    bool
}

// at returns where it is written.
func (l *listing) at() Position {
	if l.service == nil {
		return l.config.at.find("metrics")
	}
	return l.service.at.find("listen["+strconv.Itoa(l.nth)+"]", "listen")
}

// key returns how messages about it begin.
func (l *listing) key() string {
	if l.service == nil {
		return l.config.scope() + "metrics"
	}
	return l.service.scope() + "listen"
}

// owner names whose address it is, and where it is written if it is in a file.
func (l *listing) owner() string {
	name := "the metrics"
	if l.service != nil {
		name = "service " + l.service.Name
	}
	if at := l.at(); at.IsValid() {
		name += ", " + at.String()
	}
	return name
}

// An extent says which addresses of a port a socket takes.
type extent int

const (
	everything extent = iota // all addresses of both families
	all4                     // 0.0.0.0
	all6                     // [::] without the IPv4 addresses
	one4                     // one IPv4 address
	one6                     // one IPv6 address
	named                    // a host name that is not resolved
	extents
)

// overlapping holds for each extent the other ones that have addresses in common
// with it. Two of one4, one6 or named are in conflict only if they are equal,
// for which there is another index.
var overlapping = [extents][]extent{
	everything: {everything, all4, all6, one4, one6, named},
	all4:       {everything, all4, one4},
	all6:       {everything, all6, one6},
	one4:       {everything, all4},
	one6:       {everything, all6},
	named:      {everything},
}

// extentOf returns which addresses a socket for an address takes.
func extentOf(a Address, v6Only bool) extent {
	switch {
	case a.Host != "":
		return named
	case !a.IP.IsValid(), a.IP.IsUnspecified() && a.IP.Is6() && !v6Only:
		return everything
	case a.IP.IsUnspecified() && a.IP.Is4():
		return all4
	case a.IP.IsUnspecified():
		return all6
	case a.IP.Is4():
		return one4
	}
	return one6
}

// A portIndex finds the listings of one port that a new one is in conflict with.
// Its work does not grow with the number of listings.
type portIndex struct {
	equal map[Address]*listing
	// first has the first listing of each extent, among those without and those
	// with reuse-port.
	first [extents][2]*listing
}

// find returns the first listing that cannot be bound together with a new one at
// an address, or nil. Listings that all have reuse-port can be, unless their
// addresses are written the same.
func (p *portIndex) find(l *listing, at Address) *listing {
	found := p.equal[at]
	if found != nil && l.reusePort && found.reusePort && l.address != found.address {
		found = nil
	}
	for _, e := range overlapping[extentOf(at, l.v6Only)] {
		for shares, other := range p.first[e] {
			if other != nil && !(l.reusePort && shares == 1) && (found == nil || other.order < found.order) {
				found = other
			}
		}
	}
	return found
}

func (p *portIndex) add(l *listing, at Address) {
	if p.equal[at] == nil {
		p.equal[at] = l
	}
	shares := 0
	if l.reusePort {
		shares = 1
	}
	if first := &p.first[extentOf(at, l.v6Only)][shares]; *first == nil {
		*first = l
	}
}

// An addressIndex holds the listings of a configuration by port and by path.
type addressIndex struct {
	ports map[uint16]*portIndex
	paths map[string]*listing
}

// insert adds a listing that stands for some addresses. If it cannot be bound
// together with an earlier one, insert adds what it can and returns the earlier
// one and the address in question.
func (x *addressIndex) insert(l *listing, addresses []Address) (other *listing, at Address) {
	for _, a := range addresses {
		var found *listing
		switch {
		case a.IsUnix():
			path := socketPath(a.Path)
			if found = x.paths[path]; found == nil {
				x.paths[path] = l
			}
		case a.Port != 0:
			p := x.ports[a.Port]
			if p == nil {
				p = &portIndex{equal: map[Address]*listing{}}
				x.ports[a.Port] = p
			}
			found = p.find(l, a)
			p.add(l, a)
		}
		if found != nil && other == nil {
			other, at = found, a
		}
	}
	return other, at
}

// socketPath returns a path of a unix socket in the form in which two texts for
// one file are equal. It looks up no symbolic links.
func socketPath(path string) string {
	if strings.HasPrefix(path, "@") {
		return path
	}
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

// validateAddresses reports addresses that cannot be bound together, as they are
// written.
func (c *Config) validateAddresses(errs *ConfigErrors) {
	c.findConflicts(errs, func(_, _ int, a Address) []Address { return []Address{a} })
}

// CheckResolved reports addresses that cannot be bound together once host names
// are resolved, as an error of type ConfigErrors. resolved returns what an
// address stands for, the one with number nth of the service with number
// service. Both count from 0, and service is -1 for the address of the metrics.
// It returns nothing for an address that it cannot tell.
func (c *Config) CheckResolved(resolved func(service, nth int, a Address) []Address) error {
	var errs ConfigErrors
	c.findConflicts(&errs, resolved)
	return errs.err()
}

func (c *Config) findConflicts(errs *ConfigErrors, resolved func(service, nth int, a Address) []Address) {
	x := addressIndex{ports: map[uint16]*portIndex{}, paths: map[string]*listing{}}
	order := 0
	check := func(l *listing, addresses []Address) {
		l.order = order
		order++
		other, at := x.insert(l, addresses)
		switch {
		case other == nil:
		case other.address == l.address:
			errs.add(l.at(), "%s %v: listed twice, first for %s", l.key(), l.address, other.owner())
		default:
			text := l.address.String()
			if at != l.address {
				text += fmt.Sprintf(" (%v)", at)
			}
			errs.add(l.at(), "%s %s: is taken by %v of %s", l.key(), text, other.address, other.owner())
		}
	}
	for i := range c.Services {
		s := &c.Services[i]
		for j, a := range s.Listen {
			check(&listing{config: c, service: s, nth: j, address: a, reusePort: s.ReusePort, v6Only: s.V6Only}, resolved(i, j, a))
		}
	}
	if a, err := ParseAddress(c.Metrics); err == nil && !a.IsUnix() {
		if found := resolved(-1, 0, a); len(found) > 0 {
			check(&listing{config: c, address: a}, []Address{PreferIPv4(found)})
		}
	}
}

// PreferIPv4 returns the first IPv4 address of a list, or else the first address.
// A server that needs only one address of a name takes that one, as package net
// does.
func PreferIPv4(addresses []Address) Address {
	for _, a := range addresses {
		if a.IP.Is4() {
			return a
		}
	}
	return addresses[0]
}
