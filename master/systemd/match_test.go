package systemd

import (
	"maps"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	for name, test := range map[string]struct {
		names, services []string
		want            map[string]int
		err             string
	}{
		"by name":                 {[]string{"b", "a", "b"}, []string{"a", "b"}, map[string]int{"a": 1, "b": 2}, ""},
		"unnamed, one service":    {[]string{"", ""}, []string{"a"}, map[string]int{"a": 2}, ""},
		"unnamed and named":       {[]string{"", "a"}, []string{"a"}, map[string]int{"a": 2}, ""},
		"unnamed, two services":   {[]string{""}, []string{"a", "b"}, nil, "a passed socket has no name, and there are the services a, b: its socket unit needs FileDescriptorName= with one of them"},
		"another name":            {[]string{"c"}, []string{"a", "b"}, nil, `a passed socket has the name "c", and no service has: FileDescriptorName= must be one of a, b`},
		"another, only a service": {[]string{"c"}, []string{"a"}, nil, `a passed socket has the name "c", and no service has: FileDescriptorName= must be one of a`},
		"none":                    {nil, []string{"a"}, map[string]int{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var passed []Socket
			for i, name := range test.names {
				passed = append(passed, Socket{FD: 100 + i, Name: name})
			}
			matched, err := Match(passed, test.services)
			if err != nil || test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Fatalf("error %v, want %s", err, test.err)
				}
				return
			}
			got := map[string]int{}
			for service, sockets := range matched {
				got[service] = len(sockets)
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestNameOf(t *testing.T) {
	for name, want := range map[string]string{
		"echo": "echo", "unknown": "", "preforkd.socket": "", "LISTEN_FD_3": "", "connection": "connection", "stored.x": "stored.x",
	} {
		if got := nameOf(name); got != want {
			t.Errorf("nameOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	sockets := []Socket{{3, "echo"}, {4, "stored.a"}, {5, ""}}
	passed, stored := Split(sockets)
	if diff := cmp.Diff([]Socket{{3, "echo"}, {5, ""}}, passed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Socket{{4, "stored.a"}}, stored); diff != "" {
		t.Error(diff)
	}
	if !Activated(sockets) || Activated(stored) || Activated(nil) {
		t.Error("what is stored activates nothing, what is passed does")
	}
}

// For every endpoint the name in the store is one that a manager accepts, and
// no other endpoint has the same name.
func TestStoreName(t *testing.T) {
	if got, want := StoreName("unix:/run/a b%.sock"), "stored.unix%3A/run/a%20b%25.sock"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	seen := map[string]string{}
	err := quick.Check(func(place string) bool {
		name := StoreName(place)
		other, known := seen[name]
		seen[name] = place
		bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }
		return (!known || other == place) && isStored(name) && !strings.ContainsFunc(name, bad)
	}, nil)
	if err != nil {
		t.Error(err)
	}
	if a, b := StoreName(strings.Repeat("é", 100)), StoreName(strings.Repeat("é", 101)); a == b || len(a) > maxName {
		t.Errorf("%q, %q", a, b)
	}
}
