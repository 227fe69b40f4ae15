package service_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
)

// countedBoxes counts the services that are compiled: each asks for its box once.
type countedBoxes struct {
	asked   []string
	missing []*box.MissingError
}

func (b *countedBoxes) Fit(service string, _ *config.Box, _ string) (process.Box, []*box.MissingError, error) {
	b.asked = append(b.asked, service)
	return nil, b.missing, nil
}

// Of many services a reload compiles the one that was changed, wherever it stands in
// the file and whatever has moved with it.
func TestCompileOnlyWhatChanged(t *testing.T) {
	const services = 100
	var text strings.Builder
	for i := range services {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['unix:@preforkd-test-%d']\nprogram = ['/bin/cat']\n\n", i, i)
	}
	path := filepath.Join(t.TempDir(), "preforkd.toml")
	file := config.NewFile(path)
	var now config.Config
	inForce := map[string]*service.Spec{}
	load := func(text string, base *config.Base) []string {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := file.Load(config.Run{})
		if base != nil {
			cfg, err = file.LoadAgain(base)
		}
		if err != nil {
			t.Fatal(err)
		}
		counted := &countedBoxes{}
		counting := files
		counting.Boxes = counted
		specs, err := service.Compile(&cfg, counting, func(name string) *service.Spec { return inForce[name] })
		if err != nil {
			t.Fatal(err)
		}
		if len(specs) != services {
			t.Fatalf("%d services", len(specs))
		}
		for i, spec := range specs {
			if cfg.Services[i].Kept() != (inForce[spec.Name] == spec) {
				t.Errorf("service %s: kept %v, compiled %v", spec.Name, cfg.Services[i].Kept(), inForce[spec.Name] != spec)
			}
		}
		clear(inForce)
		for _, spec := range specs {
			inForce[spec.Name] = spec
		}
		now = cfg.InForce()
		return counted.asked
	}
	base := &config.Base{Config: &now, Service: func(name string) *config.Service { return &inForce[name].Service }}
	if asked := load(text.String(), nil); len(asked) != services {
		t.Errorf("at first %d are compiled", len(asked))
	}
	if asked := load("# Another line.\n"+text.String(), base); len(asked) != 0 {
		t.Errorf("without a change %v are compiled", asked)
	}
	changed := strings.Replace(text.String(), "[service.s50]\n", "[service.s50]\nmax-connections = 7\n", 1)
	if asked := load(changed, base); fmt.Sprint(asked) != "[s50]" || inForce["s50"].MaxConnections != 7 {
		t.Errorf("with one change %v are compiled", asked)
	}
	if asked := load(changed, base); len(asked) != 0 {
		t.Errorf("without a change after that %v are compiled", asked)
	}
	// A key of the master that every service depends on.
	if asked := load("[master]\nworker-binary = '/bin/true'\n\n"+changed, base); len(asked) != services {
		t.Errorf("with another worker binary %d are compiled", len(asked))
	}
}

// Services whose box lacks something are compiled again once it does not, and until then
// one of them is looked at for all that have the same box.
func TestCompileAgainWhatLacksSomething(t *testing.T) {
	const services = 20
	var text strings.Builder
	for i := range services {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['unix:@preforkd-test-%d']\nhandler = 'echo'\n\n", i, i)
	}
	dir := t.TempDir()
	worker := filepath.Join(dir, "preforkd-worker")
	if err := os.WriteFile(worker, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "preforkd.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[master]\nworker-binary = '%s'\n\n%s", worker, &text), 0o600); err != nil {
		t.Fatal(err)
	}
	file := config.NewFile(path)
	var now config.Config
	inForce := map[string]*service.Spec{}
	base := &config.Base{Config: &now, Service: func(name string) *config.Service { return &inForce[name].Service }}
	load := func(missing ...*box.MissingError) (compiled, asked int) {
		t.Helper()
		cfg, err := file.Load(config.Run{})
		if len(inForce) > 0 {
			cfg, err = file.LoadAgain(base)
		}
		if err != nil {
			t.Fatal(err)
		}
		counted := &countedBoxes{missing: missing}
		counting := files
		counting.Boxes = counted
		specs, err := service.Compile(&cfg, counting, func(name string) *service.Spec { return inForce[name] })
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range specs {
			if inForce[spec.Name] != spec {
				compiled++
			}
			inForce[spec.Name] = spec
		}
		now = cfg.InForce()
		return compiled, len(counted.asked)
	}
	users := func() *box.MissingError { return &box.MissingError{Key: "dynamic-user", Missing: "CAP_SETUID"} }
	if compiled, _ := load(users()); compiled != services {
		t.Errorf("at first %d are compiled", compiled)
	}
	// Those that have users of their own by default have one box, and the others another.
	if compiled, asked := load(users()); compiled != 0 || asked > 2 {
		t.Errorf("while the same is missing %d are compiled, and %d boxes are tried", compiled, asked)
	}
	if compiled, _ := load(); compiled != services {
		t.Errorf("when nothing is missing any more %d are compiled", compiled)
	}
	if compiled, asked := load(); compiled != 0 || asked != 0 {
		t.Errorf("then %d are compiled, and %d boxes are tried", compiled, asked)
	}
}
