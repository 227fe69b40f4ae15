package machinetest

import "testing"

func TestChooseMirror(t *testing.T) {
	for _, c := range []struct{ name, targets, want string }{
		{"one", "http://mirror.example/debian/ bookworm main\n", "http://mirror.example/debian/"},
		{"security first", "http://s.example/ bookworm-security main\nhttp://m.example/ bookworm main\n", "http://m.example/"},
		{"another component first", "http://c.example/ bookworm contrib\nhttp://m.example/ bookworm main\n", "http://m.example/"},
		{"security only", "http://s.example/ bookworm-security main\n", ""},
		{"none", "", ""},
	} {
		got, err := chooseMirror(c.targets)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
