package service

import (
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
)

// What a service has asked for is missed in a line of its own. What services have by
// default is missed in one line for all. Nothing is said twice, unless it was there
// meanwhile.
func TestLogMissing(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	log := zap.New(core)
	missing := []*box.MissingError{{Key: "nice", Missing: "CAP_SYS_NICE", Remedy: "run as root"}}
	var services []*Service
	put := func(i int, missing []*box.MissingError, implied ...string) {
		services[i].Replace(&Spec{Service: config.Service{Name: services[i].Name, Box: &config.Box{Implied: implied}}, missing: missing})
	}
	for i, name := range []string{"asks", "default-1", "default-2", "has"} {
		services = append(services, New(name, admit.Policy{}, log))
		put(i, missing, "nice")
	}
	put(0, missing)
	put(3, nil)

	LogMissing(services, log)
	events := logs.TakeAll()
	if len(events) != 2 || events[0].Message != logging.EventBoxIncomplete || events[1].Message != logging.EventBoxIncomplete {
		t.Fatalf("%d events, want 2: %v", len(events), events)
	}
	own, all := events[0].ContextMap(), events[1].ContextMap()
	if own["service"] != "asks" || own["key"] != "nice" || events[0].Level != zapcore.WarnLevel {
		t.Errorf("%v: %v", events[0].Level, own)
	}
	if names, ok := all["services"].([]any); !ok || !slices.Equal(names, []any{"default-1", "default-2"}) || events[1].Level != zapcore.InfoLevel {
		t.Errorf("%v: %v", events[1].Level, all)
	}

	LogMissing(services, log)
	if events := logs.TakeAll(); len(events) != 0 {
		t.Errorf("said again: %v", events)
	}
	put(0, nil)
	LogMissing(services, log)
	put(0, missing)
	LogMissing(services, log)
	if events := logs.TakeAll(); len(events) != 1 || events[0].ContextMap()["service"] != "asks" {
		t.Errorf("it was missing anew: %v", events)
	}
}
