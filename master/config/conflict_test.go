package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// listens returns a configuration of two services with these addresses and lines.
func listens(t *testing.T, a, linesA, b, linesB string) string {
	return fmt.Sprintf("[service.a]\nlisten = [%s]\nhandler = 'echo'\n%s\n[service.b]\nlisten = [%s]\nhandler = 'echo'\n%s\n%s", a, linesA, b, linesB, worker(t))
}

// Two addresses are in conflict where the kernel does not let two sockets be
// bound to both.
func TestConflicts(t *testing.T) {
	const share, both = "reuse-port = true", "v6-only = false"
	for _, c := range []struct{ a, linesA, b, linesB, want string }{
		{"'127.0.0.1:1'", "", "'127.0.0.2:1', '[::1]:1', '127.0.0.1:2', 'unix:/x'", "", ""},
		{"'0.0.0.0:1'", "", "'[::]:1'", "", ""},
		{"'0.0.0.0:1'", "", "'127.0.0.1:2', '[::1]:1'", "", ""},
		{"'127.0.0.1:0', ':0'", "", "'127.0.0.1:0', ':0'", "", ""},
		{"'0.0.0.0:1'", "", "'127.0.0.1:1'", "", "f:6:11: service.b: listen 127.0.0.1:1: is taken by 0.0.0.0:1 of service a, f:2:11"},
		{"'127.0.0.9:2', '127.0.0.1:1'", "", "':1'", "", "f:6:11: service.b: listen :1: is taken by 127.0.0.1:1 of service a, f:2:26"},
		{"'[::]:1'", "", "'[::1]:1'", "", "is taken by [::]:1 of service a"},
		{"'[::]:1'", "", "'127.0.0.1:1'", "", ""},
		{"'[::]:1'", both, "'127.0.0.1:1'", "", "is taken by [::]:1 of service a"},
		{"'127.0.0.1:1'", "", "'[::]:1'", both, "is taken by 127.0.0.1:1 of service a"},
		{"'0.0.0.0:1'", "", "'[::]:1'", both, "is taken by 0.0.0.0:1 of service a"},
		{"':1'", "", "'some.host:1'", "", "is taken by :1 of service a"},
		{"'some.host:1'", "", "'other.host:1', '127.0.0.1:1'", "", ""},
		{"'some.host:1'", "", "'some.host:1'", "", "listed twice, first for service a, f:2:11"},
		{"'unix:/run/x'", "", "'unix:/run/./x'", "", "is taken by unix:/run/x of service a"},
		{"'unix:@x'", "", "'unix:x'", "", ""},
		{"':1'", share, "'127.0.0.1:1'", share, ""},
		{"':1'", share, "'127.0.0.1:1'", "", "is taken by :1 of service a"},
		{"':1'", "", "'127.0.0.1:1'", share, "is taken by :1 of service a"},
		{"':1'", share, "':1'", share, "listed twice, first for service a"},
	} {
		_, err := Parse("f", []byte(listens(t, c.a, c.linesA, c.b, c.linesB)), Run{})
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s %s and %s %s: got %v, want %q", c.a, c.linesA, c.b, c.linesB, err, c.want)
		}
	}
}

// The metrics are one more address.
func TestConflictWithMetrics(t *testing.T) {
	text := "[service.a]\nlisten = ['127.0.0.1:1']\nhandler = 'echo'\n" + worker(t) + "metrics = ':1'\n"
	_, err := Parse("f", []byte(text), Run{})
	if err == nil || !strings.Contains(err.Error(), "master: metrics :1: is taken by 127.0.0.1:1 of service a, f:2:11") {
		t.Errorf("%v", err)
	}
}

// A name may stand for an address that is listed, of the same service or of
// another one.
func TestConflictOfNames(t *testing.T) {
	parse := func(text string) *Config {
		cfg, err := Parse("f", []byte(text), Run{})
		if err != nil {
			t.Fatal(err)
		}
		return &cfg
	}
	known := func(_, _ int, a Address) []Address {
		if a.Host == "localhost" {
			return []Address{mustParse(t, fmt.Sprintf("127.0.0.1:%d", a.Port)), mustParse(t, fmt.Sprintf("[::1]:%d", a.Port))}
		}
		if a.Host != "" {
			return nil
		}
		return []Address{a}
	}
	for _, c := range []struct{ a, b, want string }{
		{"'localhost:7101', '127.0.0.1:7101'", "':1'", "f:2:29: service.a: listen 127.0.0.1:7101: is taken by localhost:7101 of service a, f:2:11"},
		{"'[::1]:7101'", "'localhost:7101'", "f:6:11: service.b: listen localhost:7101 ([::1]:7101): is taken by [::1]:7101 of service a, f:2:11"},
		{"'0.0.0.0:7101'", "'localhost:7101'", "f:6:11: service.b: listen localhost:7101 (127.0.0.1:7101): is taken by 0.0.0.0:7101 of service a, f:2:11"},
		{"'localhost:7101'", "'127.0.0.2:7101', 'unknown.host:7101'", ""},
	} {
		err := parse(listens(t, c.a, "", c.b, "")).CheckResolved(known)
		switch errs, _ := errors.AsType[ConfigErrors](err); {
		case c.want == "" && err != nil, c.want != "" && (err == nil || err.Error() != c.want || !errs[0].At.IsValid()):
			t.Errorf("%s and %s: got %v, want %q", c.a, c.b, err, c.want)
		}
	}
	// The metrics take one address of a name.
	text := "[service.a]\nlisten = ['%s:1']\nhandler = 'echo'\n" + worker(t) + "metrics = 'localhost:1'\n"
	if err := parse(fmt.Sprintf(text, "[::1]")).CheckResolved(known); err != nil {
		t.Error(err)
	}
	if err := parse(fmt.Sprintf(text, "127.0.0.1")).CheckResolved(known); err == nil {
		t.Error("no conflict of the metrics")
	}
}

func mustParse(t *testing.T, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A file with very many addresses is read and checked in a time in proportion to
// their number. With the square of it this test would run for minutes.
func TestManyAddresses(t *testing.T) {
	const many = 300_000
	var b strings.Builder
	b.WriteString("[service.a]\nhandler = 'echo'\nlisten = [\n")
	for i := range many {
		fmt.Fprintf(&b, "'10.%d.%d.%d:7000',\n", i>>16, i>>8&255, i&255)
	}
	b.WriteString("'0.0.0.0:7000']\n" + worker(t))
	outcome := make(chan error, 1)
	go func() {
		_, err := Parse("f", []byte(b.String()), Run{})
		outcome <- err
	}()
	select {
	case err := <-outcome:
		want := fmt.Sprintf("f:%d:1: service.a: listen 0.0.0.0:7000: is taken by 10.0.0.0:7000 of service a, f:4:1", many+4)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatal("it takes too long")
	}
}
