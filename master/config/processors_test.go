package config

import (
	"strings"
	"testing"
)

// auto stands for one processor where the handler is preforkd's own, and nobody has said
// otherwise.
func TestProcessorsByDefault(t *testing.T) {
	own := worker(t)
	theirs := "[master]\nworker-binary = '/bin/cat'\n"
	for _, c := range []struct {
		name, binary, keys string
		want               OptionalInt
		environment        string
	}{
		{"handler", own, "handler = 'echo'\n", OptionalInt{true, 1}, "GOMAXPROCS=1"},
		{"auto", own, "handler = 'echo'\nworker-processors = 'auto'\n", OptionalInt{true, 1}, "GOMAXPROCS=1"},
		{"number", own, "handler = 'echo'\nworker-processors = 1024\n", OptionalInt{true, 1024}, "GOMAXPROCS=1024"},
		{"env", own, "handler = 'echo'\nenv = ['A=1', 'GOMAXPROCS=7']\n", OptionalInt{}, "A=1 GOMAXPROCS=7"},
		{"master's own value", own, "handler = 'echo'\nenv = ['GOMAXPROCS']\n", OptionalInt{}, "GOMAXPROCS"},
		{"another variable", own, "handler = 'echo'\nenv = ['GOMAXPROCSX=7']\n", OptionalInt{true, 1}, "GOMAXPROCS=1 GOMAXPROCSX=7"},
		{"worker binary of somebody's own", theirs, "handler = 'echo'\n", OptionalInt{}, ""},
		{"program", own, "program = ['/bin/cat']\n", OptionalInt{}, ""},
		{"program with the worker handoff", own, "program = ['/bin/cat']\nhandoff = 'worker'\n", OptionalInt{}, ""},
		{"program, number", own, "program = ['/bin/cat']\nworker-processors = 4\n", OptionalInt{true, 4}, "GOMAXPROCS=4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := Parse("f", []byte(c.binary+"[service.a]\nlisten = [':1']\n"+c.keys), Run{})
			if err != nil {
				t.Fatal(err)
			}
			s := parsed.Services[0]
			if got := strings.Join(s.Environment(), " "); s.WorkerProcessors != c.want || got != c.environment {
				t.Errorf("%+v, environment %q; want %+v, %q", s.WorkerProcessors, got, c.want, c.environment)
			}
		})
	}
}
