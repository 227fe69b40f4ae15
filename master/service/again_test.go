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
type countedBoxes struct{ asked []string }

func (b *countedBoxes) Fit(service string, _ *config.Box, _ string) (process.Box, []*box.MissingError, error) {
	b.asked = append(b.asked, service)
	return nil, nil, nil
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
