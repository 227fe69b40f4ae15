package box

import (
	"testing"

	"github.com/preforkd/preforkd/master/config"
)

// The default box of a built-in handler costs no cell.
func TestHandlerWithoutCells(t *testing.T) {
	needBoxes(t)
	b := config.PresetBox(config.BoxDefault)
	if s, err := translate(&b); err != nil || s.hasCells() || !s.mounted() {
		t.Errorf("%v, cells %v, mounts %v", err, s.hasCells(), s.mounted())
	}
}

// A cell is handed out again only where nothing that was in it can have changed what
// nobody looks at, nor have kept a way into it.
func TestReusable(t *testing.T) {
	needBoxes(t)
	for name, test := range map[string]struct {
		edit func(b *config.Box)
		want bool
	}{
		"strict":                   {func(b *config.Box) {}, true},
		"a read-only path":         {func(b *config.Box) { b.BindPaths = []config.BindPath{{Source: "/etc", Target: "/mnt", ReadOnly: true}} }, true},
		"a path where others are":  {func(b *config.Box) { b.ReadWritePaths = []string{"/srv"} }, false},
		"the same without sockets": {func(b *config.Box) { b.ReadWritePaths, b.RestrictAddressFamilies = []string{"/srv"}, []string{} }, true},
		"the same without the call": {func(b *config.Box) {
			b.ReadWritePaths, b.SystemCalls = []string{"/srv"}, append(b.SystemCalls, "~socket")
		}, true},
		"the same with the call logged": {func(b *config.Box) {
			b.ReadWritePaths, b.SystemCalls, b.SystemCallsAction = []string{"/srv"}, append(b.SystemCalls, "~socket"), config.SystemCallsLog
		}, false},
		"the network of others": {func(b *config.Box) { b.PrivateNetwork = false }, false},
		"a capability":          {func(b *config.Box) { b.Capabilities = []string{"net_admin"} }, false},
		"all capabilities":      {func(b *config.Box) { b.Capabilities = nil }, false},
		"the pids of others":    {func(b *config.Box) { b.PrivatePIDs = false }, false},
		"the master's user":     {func(b *config.Box) { b.DynamicUser = false }, true},
		"the same with a writable /proc": {func(b *config.Box) {
			b.DynamicUser, b.ProtectKernel, b.ProtectSystem = false, false, config.ProtectSystemNo
			b.RestrictAddressFamilies = []string{}
		}, false},
	} {
		b := config.PresetBox(config.BoxStrict)
		test.edit(&b)
		s, err := translate(&b)
		if err != nil || s.reusable != test.want {
			t.Errorf("%s: %v, a cell can be handed out again: %v", name, err, s.reusable)
		}
	}
}
