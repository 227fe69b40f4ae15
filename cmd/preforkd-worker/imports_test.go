package main

import (
	"os/exec"
	"strings"
	"testing"
)

// Every connection pays for the packages that this program links. Each package in this
// list makes its start measurably slower, or imports a package that does. Package
// context, which the drain needs, does neither: the program links its imports anyway.
var forbidden = []string{
	"net", "net/http", "crypto/tls", "encoding/json", "encoding/gob", "text/template", "regexp", "log", "log/slog",
	"flag", "os/exec", "os/signal", "os/user", "runtime/debug", "runtime/pprof", "testing",
	"go.uber.org/zap", "go.uber.org/multierr", "github.com/spf13/cobra", "github.com/spf13/pflag",
	"github.com/coreos/go-systemd/v22/daemon",
}

func TestLinksNothingHeavy(t *testing.T) {
	for _, target := range []string{".", "../../worker", "../../worker/echo"} {
		out, err := exec.Command("go", "list", "-deps", target).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", target, err)
		}
		linked := map[string]bool{}
		for _, pkg := range strings.Fields(string(out)) {
			linked[pkg] = true
			// Only x/sys and this module are allowed, besides the standard library.
			if host, _, found := strings.Cut(pkg, "/"); found && strings.Contains(host, ".") &&
				!strings.HasPrefix(pkg, "golang.org/x/sys/") && !strings.HasPrefix(pkg, "github.com/preforkd/preforkd/") {
				t.Errorf("%s links %s", target, pkg)
			}
			if strings.HasPrefix(pkg, "github.com/preforkd/preforkd/master") {
				t.Errorf("%s links the master's %s", target, pkg)
			}
		}
		for _, pkg := range forbidden {
			if linked[pkg] {
				t.Errorf("%s links %s", target, pkg)
			}
		}
		if !linked["golang.org/x/sys/unix"] {
			t.Errorf("%s: the list lacks x/sys/unix, so it is no list of what is linked", target)
		}
	}
}
