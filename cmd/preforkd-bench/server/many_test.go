package server

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestServicesListenAtAddressesOfTheirOwn(t *testing.T) {
	s := Services{Site: Site{Build: &Build{dir: "/build", preforkd: "/preforkd", echo: Libc}, Dir: t.TempDir(), Port: 2000}, Count: 10000}
	seen := map[netip.AddrPort]bool{}
	for i := range s.Count {
		seen[s.Addr(i)], seen[s.MovedAddr(i)] = true, true
	}
	if len(seen) != 2*s.Count {
		t.Errorf("%d addresses for %d services, before and after a move", len(seen), s.Count)
	}
	if _, err := s.Command(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(s.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Move(5000); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(s.path())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(before), "\n[service."); n != s.Count {
		t.Errorf("%d services are configured", n)
	}
	want := strings.Replace(string(before), s.Addr(5000).String(), s.MovedAddr(5000).String(), 1)
	if want == string(before) || want != string(after) {
		t.Error("a move does not change one address and nothing else")
	}
}

// Sources are denied by one rule each, and by all rules; those that are to be
// admitted, and those that only have limits, by none.
func TestRefusalsDenyWhomTheyMean(t *testing.T) {
	r := Refusals{Rules: 10000}
	rule := func(a [4]byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4(a), 28).Masked() }
	rules := map[netip.Prefix]int{}
	for i := range r.Rules {
		rules[rule(r.Denied(i))] = 0
	}
	if len(rules) != r.Rules {
		t.Fatalf("%d different rules, want %d", len(rules), r.Rules)
	}
	sources := map[[4]byte]bool{}
	for i := range 100000 {
		a := r.Denied(i)
		sources[a] = true
		if _, ok := rules[rule(a)]; !ok {
			t.Fatalf("no rule denies source %d, %v", i, a)
		}
		rules[rule(a)]++
	}
	if len(sources) != 100000 {
		t.Errorf("%d different sources, want 100000", len(sources))
	}
	for prefix, n := range rules {
		if n != 10 {
			t.Fatalf("%v denies %d sources, want 10", prefix, n)
		}
	}
	for _, a := range [][4]byte{r.Limited(0), r.Limited(79999), {127, 1, 0, 1}, {127, 1, 0, 60}} {
		if _, ok := rules[rule(a)]; ok {
			t.Errorf("%v is denied", a)
		}
		if a[0] != 127 {
			t.Errorf("%v is not of the loopback", a)
		}
	}
}
