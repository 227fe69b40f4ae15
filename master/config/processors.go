package config

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// processorsVariable is how many threads of a Go program may run at once (package
	// runtime, "Environment Variables"). Other programs do not know it.
	processorsVariable = "GOMAXPROCS"
	// maxWorkerProcessors is above what machines have. Go's runtime keeps memory for each.
	maxWorkerProcessors = 1024
	// handlerProcessors is enough for a handler that waits for one connection. With one
	// processor Go's runtime starts no threads that look for something to do.
	handlerProcessors = 1
)

// processorsKey is a number or the word auto.
func processorsKey() key[Service] {
	return autoKey(integerKey("worker-processors", "let a worker that is written in Go use `N` processors at once (GOMAXPROCS); auto, the default, is 1 for a built-in handler, and for a program what it decides by itself",
		1, maxWorkerProcessors, func(s *Service) *int { return &s.WorkerProcessors.Value }), func(s *Service) *OptionalInt { return &s.WorkerProcessors })
}

// completeProcessors decides what auto means. What env says is left alone, and so is a
// worker binary of somebody's own.
func (c *Config) completeProcessors(s *Service) {
	if !s.WorkerProcessors.Set && s.Handler != "" && c.hasOwnWorkerBinary() && !setsProcessors(s.Env) {
		s.WorkerProcessors = OptionalInt{true, handlerProcessors}
	}
}

// hasOwnWorkerBinary reports whether built-in handlers run in preforkd's own worker
// binary: worker-binary names no program of another name, which is somebody's own.
func (c *Config) hasOwnWorkerBinary() bool {
	return c.WorkerBinary == "" || filepath.Base(c.WorkerBinary) == workerName
}

func setsProcessors(env []string) bool {
	return slices.ContainsFunc(env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == processorsVariable
	})
}

// validateProcessors reports a number that is given in two ways. The env of a rule is
// none of them: it takes the place of what the service says.
func (s *Service) validateProcessors(v validator) {
	if s.WorkerProcessors.Set && setsProcessors(s.Env) {
		v.report("worker-processors", s.WorkerProcessors.Value, "sets %s, which env sets as well; only one of them can be given", processorsVariable)
	}
}

// Environment returns the variables that workers have by the configuration, as
// "NAME=value", or "NAME" for the master's own value. A later one of a name wins.
func (s *Service) Environment() []string {
	if !s.WorkerProcessors.Set {
		return s.Env
	}
	return append([]string{processorsVariable + "=" + strconv.Itoa(s.WorkerProcessors.Value)}, s.Env...)
}
