package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/preforkd/preforkd/master/carry"
)

// A Header is the first line of a State. It is the same in every format, so that a
// program can say of a State that it does not read what it is. Fields may be added, and
// none may be taken away: unlike the rest of a State, a Header is read without those
// that are not known.
type Header struct {
	Format int `json:"format"`
	// Version is that of the program that has written the State, and Generation its
	// number: 1 for the one that was started, and one more for each that has taken over.
	Version    string `json:"version"`
	Generation int    `json:"generation"`
	// To is the version of the program that takes over.
	To string `json:"to"`

	// Started is the path that the first program was started by, Config the configuration
	// file in place of the one of the command line, or "".
	Started string `json:"started"`
	Config  string `json:"config,omitempty"`
	// ConfigBefore is what Config is for the program that has written the State.
	ConfigBefore string `json:"config_before,omitempty"`

	// Descriptors go over. Old is that of the program that has written the State, one of
	// them.
	Descriptors []int    `json:"descriptors"`
	Old         carry.FD `json:"old"`

	// Trace is what the service manager keeps meanwhile, None where there is none.
	Trace carry.FD `json:"trace"`

	// Begun is when the upgrade was asked for, Paused since when nothing is accepted.
	Begun  carry.Moment `json:"begun"`
	Paused carry.Moment `json:"paused"`
}

// join returns a State of a header and the lines of its body.
func join(h *Header, lines ...[]byte) ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return bytes.Join(append([][]byte{line}, lines...), []byte{'\n'}), nil
}

// split returns the two parts of a State.
func split(data []byte) (h Header, body []byte, err error) {
	line, body, found := bytes.Cut(data, []byte{'\n'})
	if !found {
		return h, nil, errors.New("the state has no header")
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, nil, fmt.Errorf("header of the state: %w", err)
	}
	return h, body, nil
}
