package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// written writes a configuration and returns its path.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A name and an address that are the same to the kernel are told by their
// places, before anything is bound.
func TestConflictBehindAName(t *testing.T) {
	t.Parallel()
	path := written(t, `[service.one]
listen = ["127.0.0.1:0", "127.0.0.1:7101"]
program = ["/bin/cat"]
[service.two]
listen = ["localhost:7101"]
program = ["/bin/cat"]
`)
	want := path + ":5:11: service.two: listen localhost:7101 (127.0.0.1:7101): is taken by 127.0.0.1:7101 of service one, " + path + ":2:26\n"
	for _, command := range []string{"check", "serve"} {
		r := systest.Run(t, command, "--config", path)
		if r.Code != 2 || !strings.HasSuffix(r.Stderr, want) || r.Stdout != "" {
			t.Errorf("%s: exit %d, %q, want %q", command, r.Code, r.Stderr, want)
		}
	}
	// A reload says the same, and changes nothing.
	ports := held(t, 2)
	_, port, _ := net.SplitHostPort(ports[0])
	m := configured(t, 1, at("one", ports[:1], catting))
	e := m.Reload(t, at("one", ports[:1], catting)+at("two", []string{ports[1], "localhost:" + port}, catting))
	want = fmt.Sprintf(":5:30: service.two: listen localhost:%s (%s): is taken by %s of service one, %s:2:11", port, ports[0], ports[0], m.Config)
	if e.Msg != systest.NotReloaded || !strings.HasSuffix(e.Error, want) {
		t.Errorf("%s, want %q", e.Line, want)
	}
	m.Dial(t).Echo(t, "hello")
}

// The name of a service stands for its port, and one that nobody knows is one
// clear line.
func TestServiceNameAsPort(t *testing.T) {
	t.Parallel()
	r := systest.Run(t, "check", "--listen", "127.0.0.1:ssh", "echo")
	if r.Code != 0 || !strings.Contains(r.Stdout, `"127.0.0.1:22"`) {
		t.Errorf("exit %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	path := written(t, "[service.one]\nlisten = [\":no-such-service\"]\nprogram = [\"/bin/cat\"]\n")
	r = systest.Run(t, "check", "--config", path)
	want := path + ":2:11: service.one: listen \":no-such-service\": port \"no-such-service\" is neither a number from 0 to 65535 nor a TCP service in /etc/services\n"
	if r.Code != 2 || !strings.HasSuffix(r.Stderr, want) {
		t.Errorf("exit %d, %q, want %q", r.Code, r.Stderr, want)
	}
}
