package main

import (
	"fmt"
	"os"
	"os/user"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/human"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/spawner"
)

// A boxRoom makes boxes as a master does, for a command that serves nothing.
type boxRoom struct {
	spawner *spawner.Spawner
	boxes   *box.Manager
}

// newBoxRoom returns a boxRoom. The caller must call close.
func newBoxRoom() (*boxRoom, error) {
	// What a shell has left open must not get into a box.
	if err := process.SetCloexecAll(); err != nil {
		return nil, err
	}
	s, err := spawner.New(spawner.Config{Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return &boxRoom{s, box.NewManager(s, zap.NewNop())}, nil
}

// close ends and reaps all that was made. What the caller has started must have been
// reaped.
func (r *boxRoom) close() {
	r.boxes.Close()
	r.spawner.Close()
}

// findService returns a service of a configuration by its name. With "" it returns
// the only one.
func findService(cfg *config.Config, name string) (*config.Service, error) {
	var names []string
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Name == name || name == "" && len(cfg.Services) == 1 {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if name == "" {
		return nil, fmt.Errorf("which service? There is %s", joinPrintable(names))
	}
	return nil, fmt.Errorf("there is no service %q; there is %s", name, joinPrintable(names))
}

// boxError is an error about the box of a service, as a master has it at its start.
func boxError(s *config.Service, err error) error {
	return failure(fmt.Errorf("service %s: box: %w", s.Name, err))
}

// identity returns whom the programs of a service run as without dynamic-user.
func identity(s *config.Service) (*config.Identity, error) {
	id, err := s.Identity(config.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		return nil, failure(fmt.Errorf("service %s: user: %w", s.Name, err))
	}
	return id, nil
}

// whoami returns the name of this process's user, or its number.
func whoami() string {
	uid := fmt.Sprint(os.Geteuid())
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid " + uid
	}
	return human.Printable(u.Username)
}
