package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/preforkd/preforkd/cmd/internal/boxview"
	"github.com/preforkd/preforkd/cmd/internal/manual"
	"github.com/preforkd/preforkd/ipc"
)

// writeManual writes the manual pages of all commands into a directory, and the
// scripts that shells complete by into the directory completion below it.
func writeManual(dir string, getenv func(string) string) error {
	date, err := manual.Date(getenv)
	if err != nil {
		return err
	}
	root := newRoot()
	if err := manual.Write(dir, root, manual.Options{Version: ipc.Version, Date: date, Sections: manualSections()}); err != nil {
		return err
	}
	scripts := filepath.Join(dir, "completion")
	if err := os.MkdirAll(scripts, 0o755); err != nil {
		return fmt.Errorf("make the directory for completion: %w", err)
	}
	for shell, generate := range map[string]func(string) error{
		"bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"zsh":  root.GenZshCompletionFile,
	} {
		if err := generate(filepath.Join(scripts, "preforkd."+shell)); err != nil {
			return fmt.Errorf("write the completion of %s: %w", shell, err)
		}
	}
	return nil
}

// manualSections are what the pages say beside what --help does.
func manualSections() map[string][]manual.Section {
	return map[string][]manual.Section{
		"preforkd": {
			{Title: "Exit status", Text: `  0  a clean stop
  1  a failure at run time
  2  bad usage or configuration
  3  status: no preforkd is running`},
			{Title: "Shell completion", Text: `The commands, flags, services and connections are completed by the shell after

  preforkd completion bash >/etc/bash_completion.d/preforkd
  preforkd completion zsh >/usr/share/zsh/site-functions/_preforkd
  preforkd completion fish >/etc/fish/completions/preforkd.fish`},
			{Title: "Files", Items: []manual.Item{
				{Term: "/etc/preforkd/preforkd.toml", Text: "the configuration that preforkd.service serves"},
				{Term: "/run/preforkd/control.sock", Text: "the control socket of a master that runs as root or as preforkd.service"},
				{Term: "$XDG_RUNTIME_DIR/preforkd/control.sock", Text: "the control socket of another user's master; without the variable it is below /run/user/UID"},
				{Term: "/tmp/preforkd-UID/control.sock", Text: "the same where there is no such directory"},
				{Term: "/usr/local/share/doc/preforkd", Text: "documents: box.md, operations.md, systemd.md, upgrade.md, workers.md, and drop-ins for the unit"},
			}},
		},
		"preforkd-serve": {
			{Title: "Signals", Text: `  TERM, INT  drain: close the listeners, wait drain-timeout for live
             connections, then TERM to every worker's group, wait
             kill-delay, KILL. Each further INT skips one wait
  QUIT       the same without the first wait
  HUP        read the configuration file again; without one the log
             says that there is nothing to reload
  USR1       write a summary to the log
  USR2       upgrade, as preforkd upgrade does without flags; the log
             says what has become of it`},
			logSection(),
			{Title: "Exit status", Text: `0 after a clean stop, 1 after a failure at run time, 2 for bad usage or
configuration. With --once it is that of the one worker, or 128 and the number of
the signal that ended it.`},
		},
		"preforkd-status": {
			{Title: "Output", Text: `LIVE is how many connections there are of as many as may be, SPARES how many
workers wait for one (and + how many are starting), QUEUE how many connections
wait in the kernel, SPAWN P50 and P99 how long a worker took to start: the median,
and what 99 of 100 stayed below. BOX is the preset of a service's box, with * if keys
differ from it, and with - and how many of its optional keys are missing here. A
dash stands for what is not known.

Services in trouble come first, then the fullest; of connections those whose
workers have used most CPU, then the oldest. What does not fit the terminal is
left out; elsewhere nothing is.

A service whose STATE is full has no free slot, and clients wait for one or are
turned away, for as long as it says.

The output of --json is complete and stable: names are only ever added.`},
			{Title: "Degraded", Text: `A master that serves is degraded while

  a spawn failed within the last minute, and none has succeeded since,
  accepting waits for descriptors, processes or memory,
  spares are missing because those that were started did not last,
  the accept queue of a listener is full,
  a listener cannot be reached: its network interface was deleted or made anew,
    or the file of its unix socket is gone,
  the log has lost lines within the last minute,
  its configuration file is still being read, or a reload is under way for more
  than half a minute, because a file system or a name server does not answer, or
  its control socket is gone.

Each of these passes by itself once its reason has. A service that is full is not
degraded; --check-full asks for that.`},
		},
		"preforkd-upgrade": {
			{Title: "Steps", Text: `When an upgrade fails, the step says how far it came:

  binary     the new program could not be opened, or cannot be executed
  export     the old program could not stand still, or describe its state
  rehearsal  the new program, run as a child, could not take over a copy of the
             state, found a mistake in the configuration, ended, or said
             nothing for ten seconds
  exec       the kernel refused to execute the new program
  load, config, restore, install, serve
             the new program failed to read the state or the configuration, to
             make everything anew of it, to put the configuration in force, or
             to begin to serve, and the old program was executed again`},
			{Title: "What goes over", Text: `Listeners, workers with their connections, slots, sources and deadlines, spares,
rates, penalties, counters, drains that are under way, the level of the log, the
control socket, and boxes. Spares and workers for several connections that the old
program has started end when their connection does, and new ones take their place.
What did not go over is printed, and is in the log.

What was started with the old program keeps its version; preforkd status shows it.`},
			{Title: "Signals", Text: `SIGUSR2 to the master is the same as preforkd upgrade without flags. Only the log
says then what has become of it.`},
			{Title: "Exit status", Text: `0 when the new program serves, or would with --check; 1 when the old one goes on,
when there is no master, or when the process died; 2 for bad usage.`},
		},
		"preforkd-check": boxCheckSections(),
		"preforkd-box": {
			{Title: "The terminal", Text: `The program is in the session and the process group of box, as if it stood in
its place: Ctrl-C, Ctrl-\\ and Ctrl-Z reach it, and when it stops so does box, for
the shell to see. TERM, HUP, USR1 and USR2 that are sent to box go on to it.`},
			{Title: "Limits", Text: `What a box does to a connection is done to this program but for what the master
does itself: cpu-time-max, runtime-max and oom-score-adjust. Without private-pids
nothing is done about what the program leaves behind.

Programs in a box cannot trace others, so strace(1) belongs in front of preforkd,
with -f.`},
			{Title: "Exit status", Text: `That of the program, or 128 and the number of the signal that ended it. 126 is for a
program that cannot be executed, 127 for one that is not found, 1 for a box that
cannot be made, and 2 for bad usage or configuration.`},
		},
		"preforkd-learn": {
			{Title: "Output", Text: `A table of the configuration, [service.NAME.box]: system-calls without what systemd's
set @default holds, which every list allows, restrict-address-families, and the
restrictions, of which one is false if something that was done would have failed with
it. In comments below stands what the box has denied, and how often. Where programs go
on with an older call when a newer one fails, both are there: clone with clone3.

The keys allow what was seen, and no more. What a program does only on an error or
once a day is not among it unless that has happened.`},
			{Title: "The end", Text: `A service is observed for one client at a time. Learn ends early, prints what is known
and says why when a reload changes or removes the service, or when the master stops.
When learn itself is killed the master ends the observation after ten seconds. Observed
connections end with a master that is killed.`},
			{Title: "Exit status", Text: `0, also when it has ended early; 1 when nothing was observed, when the service cannot be
observed, or when the master has ended or does not answer; 2 for bad usage.`},
		},
		"preforkd-connect": {
			{Title: "A session", Text: `  $ preforkd connect localhost:7007
  connected to 127.0.0.1:7007; a line q or Ctrl-D ends the input
  > hello
  hello
  > q
  the server closed the connection
  $ preforkd connect :7007 </bin/ls | cmp - /bin/ls && echo same
  same`},
		},
		"preforkd-chat": {
			{Title: "A session", Text: `Alice waits, and Bob comes:

  alice$ preforkd chat --listen :7100 --name alice
  listening on [::]:7100, for one peer
  connection from 127.0.0.1:50502; Ctrl-D ends your side
  the peer is bob
  bob> hi alice, are you there?
  alice> yes
  the peer closed the connection

  bob$ preforkd chat localhost:7100 --name bob
  connected to 127.0.0.1:7100; Ctrl-D ends your side
  the peer is alice
  bob> hi alice, are you there?
  alice> yes
  the peer closed the connection

The first peer is the only one; the kernel refuses the next. There is no
protocol, so nc(1) is a fine peer; with --name it reads one line more, such as
"* alice is here".`},
		},
	}
}

// boxCheckSections tell of check --box.
func boxCheckSections() []manual.Section {
	var weights []manual.Item
	for _, w := range boxview.Weights {
		weights = append(weights, manual.Item{Term: fmt.Sprintf("%s  %.1f", w.Key, w.Points), Text: w.Why})
	}
	var levels []string
	for _, l := range boxview.Levels {
		levels = append(levels, fmt.Sprintf("  below %4.1f  %s", l.Below, l.Word))
	}
	return []manual.Section{
		{Title: "The box", Text: `With --box the columns are the key, its value in the box as it was made, BY what
in the kernel it is carried out, FROM where the value comes, and how much is OPEN.
FROM is the name of the preset, key for a key that was given, or missing for what
this machine, or the rights that check is run with, cannot give. A line for each
reason says then what would give it. Check needs the rights of the master: run it
as the master runs.

OPEN is the part of the weight below that the key leaves open. Their sum is the
exposure of the service, from 0 to 10:

` + strings.Join(levels, "\n") + `

As with systemd-analyze security, the number compares boxes with each other. It
knows nothing of the program.`, Sections: []manual.Section{{Title: "Weights", Items: weights}}},
		{Title: "Exit status", Text: `0 when all is well, 1 when the box cannot be made or something is missing of it that
the configuration asks for and box.optional does not list, 2 for bad usage or configuration.`},
	}
}

// logSection tells of the log and of every event in it.
func logSection() manual.Section {
	return manual.Section{Title: "Log", Text: `The log goes to standard error: as a table for people on a terminal, as entries of
the journal under systemd, elsewhere as one JSON object a line. Such an object has
ts, level, msg and the fields. msg is the name of the event. Names of events and
fields are stable.

Durations are in seconds, sizes in bytes. max_rss is an upper bound: the kernel
counts the memory that the master had at the moment of the spawn into the peak of
the child. It is exact for workers that are larger than the master.

The reason of a connection whose worker is built on the SDK is eof, done,
quit-word, reset, idle-timeout, max-lifetime, drain, panic or error. The reasons
of refusals are in preforkd.toml(5). Of many refusals for one reason only a few are
logged; suppressed is how many were left out before this one.

Of which connections the log tells is up to log in preforkd.toml(5): all of them,
those that failed or were refused, or none.`, Sections: []manual.Section{
		{Title: "Events of connections", Items: []manual.Item{
			{Term: "accepted", Text: "a connection was taken: conn, peer, local, via, and pid when it has its worker"},
			{Term: "refused", Text: "a connection was closed unserved: peer, reason, source, and in error what is wrong with a PROXY header"},
			{Term: "full", Text: "a service has no free slot, and clients wait for one or are turned away: slots, waiting. duration says for how long already, if that is not new; suppressed is how many such times the log has not told of. There is at most one such line a minute"},
			{Term: "no longer full", Text: "that is over: duration, suppressed"},
			{Term: "spawn failed", Text: "no worker could be started for a connection, or as a spare: error"},
			{Term: "reassigned", Text: "a spare ended before it had its connection, and another worker has it: conn, peer, and pid, which is the one in reaped; accepted has named the spare"},
			{Term: "reaped", Text: "a worker ended, and its connection with it: exit_code or signal, reason, duration, bytes_in, bytes_out, user_time, sys_time, max_rss, and for one that failed stderr_tail, the last lines that it wrote to fd 2. Where it met a limit: limit (memory, tasks, cpu, runtime, file-size or denied), denied (the system calls, also those that system-calls-action = \"log\" has let go on), oom (how many processes were killed for memory), and for a service with limits of a cgroup memory_peak (bytes), tasks_peak and cpu_time (seconds), of all that it had started; leftovers is how many processes it left behind"},
			{Term: "ended", Text: "a connection ended, and its worker goes on to the next one: reason, duration, bytes_in, bytes_out"},
			{Term: "signalled", Text: "somebody had a worker signalled by preforkd kill: signal, and in reason who it was"},
			{Term: "stderr", Text: "a worker wrote a line to fd 2, and the service has stderr = \"log\": line"},
			{Term: "penalized", Text: "a source is refused for a while, because a worker of its connections ended badly: source, penalty, dry_run"},
			{Term: "spared", Text: "a connection was admitted that would be refused without penalty-dry-run: source, until"},
			{Term: "no PROXY header", Text: "(debug) why a connection is refused that had to begin with a PROXY header: reason, error"},
		}},
		{Title: "Events of workers", Items: []manual.Item{
			{Term: "contract broken", Text: "a worker sent what the contract with the master does not allow: error"},
			{Term: "client gone", Text: "the client of a connection has gone while its worker lives on; reason is what hang-up says"},
			{Term: "hang-ups unknown", Text: "the kernel does not tell of some connections whether their clients have gone: error"},
			{Term: "worker overdue", Text: "a worker was not ready, or did not end, in time, and is sent a signal: signal, reason"},
			{Term: "worker stopped", Text: "a signal has stopped a worker, such as SIGSTOP; it does nothing until somebody sends it SIGCONT: pid, conn, signal"},
			{Term: "worker continued", Text: "a worker that was stopped goes on: pid, conn"},
			{Term: "a worker has shut down the stderr of all", Text: "workers that were started before lose what they write to fd 2: error, if there is none for those to come"},
			{Term: "spawn delayed", Text: "a spawn waits for descriptors, processes or memory: error"},
			{Term: "spawn stalled", Text: "starts of a program hang for seconds, because its disk or file server does not answer: program, starts. Other programs are started as always"},
			{Term: "spawn resumed", Text: "starts of that program do not hang any more: program"},
			{Term: "oom score not adjusted", Text: "a worker keeps the OOM score of the master: program, pid, error. It is not told again until it has worked once"},
			{Term: "worker proven", Text: "(debug) at the start of the master a worker of this service was seen to start"},
			{Term: "idle-timeout is not enforced", Text: "the kernel does not tell the master how long connections have been idle, so only workers that keep the time themselves end theirs: error"},
			{Term: "workers are not fully confined", Text: "the kernel lacks something by which built-in workers confine themselves: reason"},
			{Term: "cgroup", Text: "a cgroup of a service could not be changed or removed, or one that an earlier master had left was removed: error or reason"},
			{Term: "reaped stranger", Text: "a child of the master ended that served no connection: an orphan of a worker, or any orphan when the master is pid 1 of a container"},
		}},
		{Title: "Events of listeners", Items: []manual.Item{
			{Term: "listening", Text: "a listener accepts: local, and from when systemd passed or kept it"},
			{Term: "listener unreachable", Text: "no client can reach a listener, because its network interface is gone or was made anew: error. It is bound anew as soon as that can be done, and the log says listening again"},
			{Term: "accept failed", Text: "accepting waits for descriptors, processes or memory: error"},
			{Term: "accept recovered", Text: "accepting goes on"},
			{Term: "close listener", Text: "a listener could not be closed in order: error"},
			{Term: "change socket options", Text: "a reload could not change the options of a listener: error"},
			{Term: "store listener", Text: "a listener could not be left with systemd: error"},
			{Term: "stored socket dropped", Text: "systemd kept a socket that fits no service any more: error or reason"},
			{Term: "socket without a service", Text: "systemd passed sockets by a name that no service has: name, sockets"},
		}},
		{Title: "Events of the master", Items: []manual.Item{
			{Term: "control", Text: "where the control socket is, or why there is none: local, reason, error"},
			{Term: "serving metrics", Text: "where metrics are served, or what goes wrong with that: local, error"},
			{Term: "service manager", Text: "systemd could not be told something: error"},
			{Term: "overridden", Text: "flags of the command line stand for what the file says otherwise: flags"},
			{Term: "reloaded", Text: "a new configuration is in force: added, changed, removed, opened, closed"},
			{Term: "not reloaded", Text: "the configuration stays as it is, because the new one is wrong: error"},
			{Term: "upgrading", Text: "another program is to take over in the master's process: from (the version), binary (its path), and in reason the signal, or who it was. With check it is only a try"},
			{Term: "upgraded", Text: "the other program has taken over, and serves: from, to, duration (since upgrading), pause (for how long nothing was accepted), workers (how many went over), dropped (what did not go over)"},
			{Term: "not upgraded", Text: "the old program goes on, and nothing has changed: step (which failed), reason. With check it was only a try. With at the process before this one has died in that step then"},
			{Term: "descriptor without an owner", Text: "a descriptor went over in an upgrade, and nothing of the new program uses it: fd. It has been closed, and is a mistake of preforkd's"},
			{Term: "observe system calls", Text: "after an upgrade that failed the observation of preforkd learn does not go on: error"},
			{Term: "upgrade not answered", Text: "(debug) the client that had asked for the upgrade was gone: error"},
			{Term: "reload overdue", Text: "a reload does not come to an end, because name servers or file systems keep it waiting: since"},
			{Term: "box incomplete", Text: "this machine cannot give what a key of a service's box asks for, and box.optional says that it may be missing: key, and in error what it needs. Connections of the service are served without it. With services, which lists several, it is of the box that built-in handlers have by default"},
			{Term: "learning", Text: "what new connections of a service use is observed for preforkd learn: in reason who it was"},
			{Term: "learned", Text: "that is over: processes (how many were observed), in reason who or what has ended it, and in error why the service is still observed, if it is"},
			{Term: "nothing to reload", Text: "the master was started without a configuration file"},
			{Term: "log level changed", Text: "somebody changed the level by preforkd log-level: from, to, and in reason who it was"},
			{Term: "log lines lost", Text: "lines found no room, because nobody read the log or its file took no more: lines"},
			{Term: "status", Text: "the summary that SIGUSR1 asks for, one for the master and one for each service"},
			{Term: "draining", Text: "no new connections are accepted, and live ones finish: in reason the signal, or who it was"},
			{Term: "resumed", Text: "a service that was drained accepts again: opened, and in reason who it was"},
			{Term: "stopping workers", Text: "the workers that are left are sent a signal: signal"},
			{Term: "signal worker", Text: "the kernel refused to send a signal to a worker: error"},
			{Term: "signal orphan", Text: "the kernel refused to send a signal to an orphan of a worker: error"},
			{Term: "left behind", Text: "a process did not end after SIGKILL: pid"},
			{Term: "not started", Text: "the start failed: error"},
			{Term: "stopped", Text: "the last line of every run: accepted, refused, failed, reaped"},
			{Term: "workers' own children cannot be stopped with them", Text: "the kernel does not give orphans to the master: error"},
			{Term: "control channels are read with a delay", Text: "the kernel does not tell when a worker says something, for a limit of the user or of memory: error"},
			{Term: "control channels are watched again", Text: "that has passed"},
			{Term: "control channels stay where every spawn has to copy them", Text: "with thousands of connections spawning becomes slower, and those of programs that last are closed as if lingering-close were false: error"},
			{Term: "listeners stay where every spawn has to copy them", Text: "there are hundreds of listening sockets, and spawning is slower the more they are: error. It is tried again at the next reload"},
		}},
	}}
}
