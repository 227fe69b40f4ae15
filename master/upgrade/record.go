package upgrade

import (
	"cmp"
	"os"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
)

// A Record is what a master knows of its upgrades, the one under way included. The
// master's loop owns it.
type Record struct {
	control.Upgrades

	started  string // the path that the first program was started by
	config   string // the configuration file in place of the one of the command line, or ""
	underWay bool
}

// NewRecord returns the Record of a program that was started and not executed by an
// upgrade.
func NewRecord() *Record {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return &Record{started: path}
}

// Record returns the record of a program that takes over or is gone back to.
func (t *Takeover) Record() *Record {
	return &Record{Upgrades: t.State.Upgrades, started: t.Header.Started, config: t.ConfigFile()}
}

// Begin notes that an upgrade is under way. It is an error if one is already.
func (r *Record) Begin() error {
	if r.underWay {
		return control.Errorf(control.Conflict, "not upgraded: an upgrade is under way")
	}
	r.underWay = true
	return nil
}

// End notes that the upgrade under way is over.
func (r *Record) End() { r.underWay = false }

// Succeeded counts an upgrade that this program has taken over by.
func (r *Record) Succeeded(h *Header, now time.Time) control.Upgraded {
	took := now.Sub(h.Begun.Time())
	r.Count++
	r.Last = &control.Upgrade{From: h.Version, To: ipc.Version, At: now, Duration: took.Seconds()}
	return control.Upgraded{
		From: h.Version, To: ipc.Version, Duration: took.Seconds(), Pause: now.Sub(h.Paused.Time()).Seconds(),
		Generation: r.Generation(),
	}
}

// Failed counts an upgrade that has failed. to is the version of the other program, or ""
// if it is not known.
func (r *Record) Failed(f *Failure, to string, now time.Time) {
	r.Upgrades.Failed++
	r.LastFailure = &control.UpgradeFailure{At: now, Step: string(f.Step), Reason: f.Reason, To: to}
}

// Died counts an upgrade in which the process before this one has died.
func (r *Record) Died(f *control.UpgradeFailure) {
	r.Upgrades.Failed++
	r.LastFailure = f
}

// Binary returns the path of the program to upgrade to. asked is the one that was asked
// for, or "".
func (r *Record) Binary(asked string) string {
	if asked != "" {
		return asked
	}
	return r.started
}

// Header returns the header of a State that this program writes. config is the
// configuration file that was asked for, or "".
func (r *Record) Header(config string, begun, paused time.Time) Header {
	return Header{
		Version: ipc.Version, Generation: r.Generation(), Started: r.started,
		Config: cmp.Or(config, r.config), ConfigBefore: r.config,
		Old: carry.None, Trace: carry.None, Begun: carry.At(begun), Paused: carry.At(paused),
	}
}
