package config

import "strconv"

// validateAddresses finds addresses that cannot be listened at together.
func (c *Config) validateAddresses(mistakes *Mistakes) {
	type place struct {
		service *Service
		address Address
		at      Position
	}
	var places []place
	for i := range c.Services {
		s := &c.Services[i]
		for j, a := range s.Listen {
			here := place{s, a, s.at.of("listen["+strconv.Itoa(j)+"]", "listen")}
			for _, other := range places {
				if !overlap(a, other.address) || (s.ReusePort && other.service.ReusePort && a != other.address) {
					continue
				}
				first := "service " + other.service.Name
				if other.at.IsValid() {
					first = other.at.String()
				}
				if a == other.address {
					mistakes.add(here.at, "%slisten %v: listed twice, first for %s", s.scope(), a, first)
				} else {
					mistakes.add(here.at, "%slisten %v: is taken by %v, listed for %s", s.scope(), a, other.address, first)
				}
				break
			}
			places = append(places, here)
		}
	}
}

// overlap reports whether two addresses are the same or one of them is every
// address of the other's family. Names are not resolved for that.
func overlap(a, b Address) bool {
	switch {
	case a.IsUnix() || b.IsUnix():
		return a == b
	case a.Port != b.Port || a.Port == 0:
		return false
	case a == b:
		return true
	}
	every := func(a Address) bool { return a.Host == "" && !a.IP.IsValid() }
	covers := func(a, b Address) bool {
		return every(a) || a.IP.IsValid() && a.IP.IsUnspecified() && b.IP.IsValid() && a.IP.Is4() == b.IP.Is4()
	}
	return covers(a, b) || covers(b, a)
}
