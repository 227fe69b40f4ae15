package main

import (
	"os"
	"strconv"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/upgrade"
)

// envRounds is how many rounds the long tests of upgrades have; make upgrade-test sets
// it. Without it they are short.
const envRounds = "PREFORKD_TEST_UPGRADE_ROUNDS"

// longRounds returns that number, 0 for the short form.
func longRounds(t *testing.T) int {
	t.Helper()
	text, set := os.LookupEnv(envRounds)
	if !set {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s=%q: must be a number of rounds", envRounds, text)
	}
	return n
}

// A failing is a step at which an upgrade fails, and how.
type failing struct {
	step upgrade.Step
	kind string // see package fault of master/upgrade
	slow bool   // it takes as long as the master has patience
}

// inNew are the failures of the program that takes over. What ends the process at once
// is not among them: nobody is left there who could go back.
var inNew = []failing{
	{step: upgrade.StepLoad, kind: "error"},
	{step: upgrade.StepConfig, kind: "panic"},
	{step: upgrade.StepRestore, kind: "error"},
	{step: upgrade.StepInstall, kind: "panic"},
	{step: upgrade.StepServe, kind: "error"},
	{step: upgrade.StepLoad, kind: "panic"},
	{step: upgrade.StepConfig, kind: "error"},
	{step: upgrade.StepRestore, kind: "panic"},
	{step: upgrade.StepInstall, kind: "error"},
	{step: upgrade.StepServe, kind: "panic"},
	{step: upgrade.StepRestore, kind: "hang", slow: true},
	{step: upgrade.StepServe, kind: "hang", slow: true},
}

// inChild are those of the program that rehearses, and inOld those of the old one.
var (
	inChild = []failing{
		{step: upgrade.StepRehearsal, kind: "error"},
		{step: upgrade.StepRehearsal, kind: "panic"},
		{step: upgrade.StepRehearsal, kind: "exit"},
		{step: upgrade.StepRehearsal, kind: "kill"},
		{step: upgrade.StepRehearsal, kind: "hang", slow: true},
	}
	inOld = []failing{
		{step: upgrade.StepExport, kind: "error"},
		{step: upgrade.StepExec, kind: "error"},
	}
)

// reason returns what is told of a failure.
func (f failing) reason() string {
	switch f.kind {
	case "error", "panic":
		return "a fault at " + string(f.step)
	case "hang":
		return upgrade.Timeout.String()
	}
	return "ended"
}

// A chaos is a master under load that is upgraded again and again.
type chaos struct {
	*load
	here, elsewhere installation // where the master was started, and where programs fail
	reloads         int
}

// fail has upgrades fail. Those of the old program fail by the file of the one that runs.
func (c *chaos) fail(f failing, at installation, pid string) {
	c.t.Helper()
	at.fault(c.t, string(f.step)+" "+f.kind+pid)
	refusesUpgrade(c.t, c.m, f.reason(), "--binary", c.elsewhere.preforkd())
	at.fault(c.t, "")
	c.more(1)
}

// pid restricts a fault to the process of the master.
func (c *chaos) pid() string { return " " + strconv.Itoa(c.m.PID) }

// upgradeWithReload upgrades, with a reload that is asked for meanwhile and done at last.
func (c *chaos) upgradeWithReload(version string, bySignal bool) {
	c.t.Helper()
	c.here.replace(c.t, version)
	c.reloads++
	upgradeTo(c.t, c.m, version, bySignal)
	if e := c.m.Reload(c.t, c.config(500+c.reloads%2)); e.Msg != systest.Reloaded {
		c.t.Errorf("%s", e.Line)
	}
	c.more(2)
}

// Under load a master becomes the next version, survives one that fails at each of its
// steps, and becomes the old version again, many times. Nobody is refused, nobody is cut,
// no exit and no count is lost, and nothing is left over.
func TestUpgradeChaos(t *testing.T) {
	t.Parallel()
	rounds := longRounds(t)
	long := rounds > 0
	if !long {
		rounds = 2
	}
	c := &chaos{here: install(t, versionOne), elsewhere: install(t, versionTwo)}
	c.load = newLoad(t, c.here)
	c.start()
	c.more(2)
	var early int64 // memory after five rounds
	for round := range rounds {
		c.upgradeWithReload(versionTwo, round%2 == 1)
		news, children := inNew[5*(round%2):5*(round%2)+5], inChild[2*(round%2):2*(round%2)+2]
		if long {
			news, children = inNew, inChild
		}
		for _, f := range news {
			if !f.slow || round%10 == 0 {
				c.fail(f, c.elsewhere, c.pid())
			}
		}
		for _, f := range children {
			if !f.slow || round%10 == 0 {
				c.fail(f, c.elsewhere, "")
			}
		}
		for _, f := range inOld {
			c.fail(f, c.here, "")
		}
		c.upgradeWithReload(versionOne, round%2 == 0)
		if round == 4 {
			early = systest.ReadStatus(c.m.PID).RSS
		}
	}
	late := systest.ReadStatus(c.m.PID).RSS
	c.finish()
	if early > 0 && late > early+early/10 {
		t.Errorf("the master has %d bytes of memory after %d rounds, and had %d after 5", late, rounds, early)
	}
	if got := looked(t, c.m).Master.Upgrades.Count; got != uint64(2*rounds) {
		t.Errorf("there were %d upgrades, %d by the master's account", 2*rounds, got)
	}
	t.Logf("upgraded: %v", slowestPause(c.m))
}

// The same with the race detector, which has its say in both programs: an upgrade to the
// same version, and one that fails after the exec.
func TestUpgradeUnderRaceDetector(t *testing.T) {
	t.Parallel()
	here := installation{systest.Dir(t)}
	for path, name := range map[string]string{systest.Preforkd(t): "preforkd", systest.PreforkdWorker(t): "preforkd-worker"} {
		systest.CopyProgram(t, path, here.dir+"/"+name)
	}
	l := newLoad(t, here)
	l.start()
	before := looked(t, l.m).Master.Version
	for range 2 {
		upgradeTo(t, l.m, before, false)
		l.more(2)
	}
	l.finish()
}

// slowestPause returns the longest time, in seconds, in which nothing was accepted.
func slowestPause(m *systest.Master) (slowest float64) {
	for _, e := range m.Events(systest.Is(upgraded)) {
		if e.Pause != nil {
			slowest = max(slowest, *e.Pause)
		}
	}
	return slowest
}

// The load by itself, with reloads in the place of upgrades. What fails here is no matter
// of upgrades.
func TestLoadOfUpgrades(t *testing.T) {
	t.Parallel()
	if slowest := slowtest.Factor(); slowest > 4 && longRounds(t) == 0 {
		systest.SkipAnywhere(t, "the machine is slow, and the load is tried by the test of upgrades, too")
	}
	l := newLoad(t, install(t, versionOne))
	l.start()
	for round := range 3 {
		l.more(2)
		if e := l.m.Reload(t, l.config(500+round)); e.Msg != systest.Reloaded {
			t.Fatal(e.Line)
		}
	}
	l.finish()
}
