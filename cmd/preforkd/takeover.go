package main

import (
	"errors"

	"github.com/preforkd/preforkd/master"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/systemd"
	"github.com/preforkd/preforkd/master/upgrade"
)

// takeOver is serve for a program that a master has executed in its own place
// (package upgrade). Until it serves, every error executes the program before it again.
// So what it returns then is only said if that is not possible.
//
// What a start undoes of what its parent has left, nothing has to be undone for here: the
// master before has done it. Signals that it has had and nobody has acted on come with
// Catch.
func takeOver(flags *configFlags, load func() (config.Config, error), log *logFlags) error {
	caught := signals.Catch()
	t, err := upgrade.Begin(caught)
	if err != nil {
		return failure(err)
	}
	defer t.Recover()
	if err := t.At(upgrade.StepConfig); err != nil {
		return goBack(t, err)
	}
	if err := process.SetCloexecAll(); err != nil {
		return goBack(t, err)
	}
	// Without the right to do so the program before has seen to it.
	_ = osthread.RelaxMonitor()
	cfg, err := upgradedConfig(flags, t, load)
	if err != nil {
		return goBack(t, err)
	}
	options, err := log.options()
	if err != nil {
		return goBack(t, err)
	}
	if err := t.At(upgrade.StepRestore); err != nil {
		return goBack(t, err)
	}
	logger, err := logging.Restore(options, &t.State.Log)
	if err != nil {
		return goBack(t, err)
	}
	defer logger.Close(logFlushTimeout)
	manager, err := systemd.Connect(func(err error) { logger.Warn("service manager", logging.Error(err)) })
	if err != nil {
		return goBack(t, err)
	}
	defer manager.Close()
	m, err := master.TakeOver(t, cfg, flags.file, manager, caught, logger)
	if err != nil {
		return goBack(t, err)
	}
	return end(m.Run())
}

// goBack executes the program before this one. It returns only if that fails.
func goBack(t *upgrade.Takeover, err error) error { return failure(t.GoBack(err)) }

// upgradedConfig reads the configuration of a program that takes over.
//
// One that is gone back to has none read: the one in force is its configuration.
func upgradedConfig(flags *configFlags, t *upgrade.Takeover, load func() (config.Config, error)) (config.Config, error) {
	if file := t.ConfigFile(); file != "" {
		flags.file = file
	}
	flags.socketsPassed = t.State.Master.SocketsPassed
	if t.Failure != nil {
		var err error
		if flags.text, err = t.State.Config(); err != nil {
			return config.Config{}, err
		}
	}
	return load()
}

// rehearseUpgrade says whether this program could take over from the master that has
// started it as its child, and changes nothing.
func rehearseUpgrade(flags *configFlags, load func() (config.Config, error), log *logFlags) error {
	stage, data, err := upgrade.BeginRehearsal()
	if err != nil {
		return failure(err)
	}
	step, err := func() (upgrade.Step, error) {
		h, state, err := upgrade.Decode(data)
		if err != nil {
			return upgrade.StepLoad, err
		}
		cfg, err := upgradedConfig(flags, stage.Takeover(h, state), load)
		if err != nil {
			return upgrade.StepConfig, err
		}
		options, err := log.options()
		if err != nil {
			return upgrade.StepConfig, err
		}
		logger, err := logging.New(options)
		if err != nil {
			return upgrade.StepConfig, err
		}
		defer logger.Close(logFlushTimeout)
		return master.Rehearse(state, cfg, logger.Logger)
	}()
	a := upgrade.Answer{}
	if err != nil {
		a.Step, a.Error = step, firstLine(err)
	}
	if err := stage.Answer(a); err != nil {
		return failure(err)
	}
	return nil
}

// firstLine returns an error in one line. Of the mistakes of a configuration it is the
// first one.
func firstLine(err error) string {
	mistakes, ok := errors.AsType[config.ConfigErrors](err)
	if ok && len(mistakes) > 0 {
		return errorLine(mistakes[0])
	}
	return errorLine(err)
}
