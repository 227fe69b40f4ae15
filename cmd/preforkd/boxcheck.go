package main

import (
	"io"
	"os"
	"slices"

	"github.com/preforkd/preforkd/cmd/internal/boxview"
	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
)

// checkBox makes and tries the box of a service, and prints what it is on this
// machine. The error is the one that a master would not start for.
func checkBox(w io.Writer, cfg *config.Config, name string) error {
	s, err := findService(cfg, name)
	if err != nil {
		return err
	}
	id, err := identity(s)
	if err != nil {
		return err
	}
	report := boxview.Report{Service: s.Name, Box: *s.Box, As: whoami(), User: boxview.User{Root: os.Geteuid() == 0}}
	if id != nil {
		report.User.Root = id.UID == 0
	}
	room, err := newBoxRoom()
	if err != nil {
		return failure(err)
	}
	defer room.close()
	handler, err := cfg.HandlerPath(s)
	if err != nil {
		return err
	}
	_, missing, err := room.boxes.Probe(s.Name, s.Box, handler)
	if err != nil {
		return boxError(s, err)
	}
	var required box.Lacks
	for _, m := range missing {
		report.Missing = append(report.Missing, boxview.Missing{Key: m.Key, Reason: m.Need() + ": " + m.Remedy,
			Optional: slices.Contains(s.Box.Optional, m.Key), Implied: slices.Contains(s.Box.Implied, m.Key)})
		if !s.Box.MayLack(m.Key) {
			required = append(required, m)
		}
	}
	width := 0
	if f, ok := w.(*os.File); ok {
		width = statusview.TerminalWidth(f)
	}
	if err := report.Write(w, width); err != nil {
		return failure(err)
	}
	if len(required) > 0 {
		return boxError(s, required)
	}
	return nil
}
