package upgrade

import (
	"fmt"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/accept"
	"github.com/preforkd/preforkd/master/admin"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/reloading"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
	"github.com/preforkd/preforkd/master/workers"
)

// A State is all that a master hands to the next one, room by room.
type State struct {
	Master   MasterState           `json:"master"`
	Upgrades control.Upgrades      `json:"upgrades"`
	Specs    []service.SpecState   `json:"specs"`
	Services []service.State       `json:"services"` // in force first, in the order of the configuration
	IDs      service.IDsState      `json:"ids"`
	Accept   accept.State          `json:"accept"`
	Dispatch dispatch.State        `json:"dispatch"`
	Workers  *workers.SetState     `json:"workers"`
	Boxes    *box.State            `json:"boxes,omitempty"`
	Binaries []process.BinaryState `json:"binaries,omitempty"` // for the way back
	Stderr   stderr.OutputsState   `json:"stderr"`
	Sockets  endpoints.State       `json:"sockets"`
	Admin    admin.State           `json:"admin"`
	Reloads  reloading.State       `json:"reloads"`
	Log      logging.State         `json:"log"`
}

// A MasterState is what the master itself knows.
type MasterState struct {
	Started    time.Time     `json:"started"`    // the process
	Generation uint64        `json:"generation"` // how many configurations were put in force
	InForce    int           `json:"in_force"`   // how many of State.Services are
	Retired    ledger.Totals `json:"retired"`    // of services that were deleted
	// Config is the table of the master in the configuration in force, in TOML.
	Config string `json:"config"`
	// SocketsPassed says that a service manager has passed sockets.
	SocketsPassed bool `json:"sockets_passed"`
	// Dropped is what is not handed over and a user would miss.
	Dropped []string `json:"dropped,omitempty"`
	// Waiter is the client that waits for the outcome.
	Waiter carry.FD `json:"waiter"`
}

// Config returns the configuration in force as the text of a file. The program that is gone
// back to has it from there: the file may be gone by now, or only make sense to the program
// that has failed.
func (s *State) Config() (string, error) {
	if n := s.Master.InForce; n < 0 || n > len(s.Services) {
		return "", fmt.Errorf("%d of %d services are in force", n, len(s.Services))
	}
	var text strings.Builder
	text.WriteString(s.Master.Config)
	for _, svc := range s.Services[:s.Master.InForce] {
		if svc.Spec < 0 || svc.Spec >= len(s.Specs) {
			return "", fmt.Errorf("service %s: there is no configuration %d of a service", svc.Name, svc.Spec)
		}
		text.WriteString("\n" + s.Specs[svc.Spec].Section)
	}
	return text.String(), nil
}
