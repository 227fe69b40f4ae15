package service

import (
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/redact"
)

// A SpecState is a Spec in the state that a master hands to the next one.
type SpecState struct {
	Service string `json:"service"`
	Section string `json:"section"` // of the configuration, in TOML (config.Service.TOML)
}

// SpecRecorder numbers the Specs of an export, each once.
type SpecRecorder struct {
	States  []SpecState
	numbers map[*Spec]int
}

// Number returns the number by which a state refers to a Spec.
func (r *SpecRecorder) Number(spec *Spec) int { panic("to be written") }

// RestoredSpecs are the Specs of a state by their numbers.
type RestoredSpecs struct{ specs []*Spec }

// Spec returns the Spec of a number: one in force if that means the same, otherwise a
// former one, by which nothing is started.
func (r *RestoredSpecs) Spec(number int) (*Spec, error) { panic("to be written") }

// A ConnectionState is a Connection in the state that a master hands to the next one.
type ConnectionState struct {
	ID   string `json:"id"`
	Spec int    `json:"spec"`
}

// Export returns the state of the connection. It keeps File if that is open.
func (c *Connection) Export(d *carry.Descriptors, specs *SpecRecorder) ConnectionState {
	panic("to be written")
}

// RestoreConnection makes the connection again, with its slot.
func RestoreConnection(s *ConnectionState, d *carry.Descriptors, specs *RestoredSpecs, p *redact.Policy) (*Connection, error) {
	panic("to be written")
}
