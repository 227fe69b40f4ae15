package service_test

import (
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
)

// A handedOver is what this package adds to a state.
type handedOver struct {
	IDs         service.IDsState
	Specs       []service.SpecState
	Services    []service.State
	Connections []service.ConnectionState
}

// Whatever a state says, there is an error, or services and connections that can be used
// and carried again.
func FuzzRestore(f *testing.F) {
	specs, services := install(f, everything)
	var r service.SpecRecorder
	seed := handedOver{IDs: service.IDsState{Prefix: "abc-", Last: 3}}
	for i, s := range services {
		events(f, s)
		for range 2 {
			for _, conn := range connections(f) {
				d := s.Gate.Admit(peerOf(conn), time.Now(), false)
				if d.Outcome == admit.Admitted {
					s.Ledger.Accepted()
					c := service.NewConnection(specs[i], conn, d, "abc-1", &redact.Policy{})
					c.File.Close()
					seed.Connections = append(seed.Connections, c.Export(carry.NewDescriptors(), &r))
				}
			}
		}
		seed.Services = append(seed.Services, s.Export(&r))
	}
	seed.Specs = r.States()
	text, err := json.Marshal(seed)
	if err != nil {
		f.Fatal(err)
	}
	if !restore(f, text) {
		f.Fatalf("the seed is no state: %s", text)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) { restore(t, text) })
}

// restore makes everything of a state again and uses it. It reports whether the state
// made sense.
func restore(t testing.TB, text []byte) bool {
	t.Helper()
	var state handedOver
	if json.Unmarshal(text, &state) != nil {
		return false
	}
	ids, err := service.RestoreIDs(&state.IDs)
	if err != nil {
		return false
	}
	ids.Next()
	specs, err := service.RestoreSpecs(state.Specs, nil)
	if err != nil {
		return false
	}
	var services []*service.Service
	for i := range state.Services {
		s, err := service.RestoreService(&state.Services[i], specs, zap.NewNop())
		if err != nil {
			return false
		}
		services = append(services, s)
	}
	var connections []*service.Connection
	for i := range state.Connections {
		state.Connections[i].Conn.FD = carry.None
		c, err := service.RestoreConnection(&state.Connections[i], carry.NewDescriptors(), specs, &redact.Policy{})
		if err != nil {
			return false
		}
		c.Origin()
		connections = append(connections, c)
	}
	for i, s := range services {
		if s.CheckRestored(&state.Services[i]) != nil {
			return false
		}
	}
	var r service.SpecRecorder
	now := time.Now()
	for _, c := range connections {
		c.LogRefused(admit.Gone, now)
		if c.Slot != nil {
			c.Owner().Gate.Penalize(c.Slot, now)
			c.Owner().Gate.Release(c.Slot, now)
		}
		c.Export(carry.NewDescriptors(), &r)
	}
	for _, s := range services {
		s.Explain(admit.Peer{UID: 1}, now)
		s.LogSuppressed(now)
		s.Congestion.Observe(true, now)
		s.Gate.SetPolicy(admit.Policy{MaxConnections: 1, V4Bits: 8, V6Bits: 8, MaxSources: 1}, now)
		s.Export(&r)
	}
	return true
}
