package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/oomscore"
)

// serviceKeys lists the keys of [service.NAME], in the order in which they are
// printed. Each is also a flag of serve and check, with the same name.
var serviceKeys = []key[Service]{
	formattedIf(notEmpty(listKey("listen", "ADDR", "listen at `ADDR`: host:port, :port, [v6]:port, unix:/path or unix:@name (default "+DefaultListen+")",
		func(s *Service) *[]Address { return &s.Listen }, parseAddress, Address.String), "it lists the addresses to listen at"),
		func(s *Service) bool { return s.Listen != nil }),
	handlerKey(),
	programKey(func(s *Service) *[]string { return &s.Program }),
	choiceKey("handoff", "how a program gets its connection: `HANDOFF` is stdio (fds 0 and 1; the default), worker (fd 3, control channel on fd 4) or systemd (fd 3 and LISTEN_FDS)",
		func(s *Service) *Handoff { return &s.Handoff }, HandoffWorker, HandoffStdio, HandoffSystemd),
	textKey("quit-word", "WORD", "let echo end a connection at a line that is exactly `WORD`",
		func(s *Service) *string { return &s.QuitWord }),

	textKey("user", "USER", "run workers as `USER`, a name or number", func(s *Service) *string { return &s.User }),
	textKey("group", "GROUP", "run workers in `GROUP`, a name or number; default is the user's own group", func(s *Service) *string { return &s.Group }),
	textsKey("supplementary-groups", "GROUP", "`GROUP`s that workers are in besides; none are inherited once user, group or this is set",
		func(s *Service) *[]string { return &s.SupplementaryGroups }),
	parsedKey("umask", "MODE", "`MODE` in octal that workers' new files lack", func(s *Service) *FileMode { return &s.Umask }, ParseFileMode, FileMode.String),
	oomScoreAdjustKey(),
	textKey("directory", "PATH", "start workers in the directory `PATH`", func(s *Service) *string { return &s.Directory }),
	envKey(func(s *Service) *[]string { return &s.Env }),
	processorsKey(),
	parsedKey("timer-slack", "DURATION", "let timers of workers be up to `DURATION` late (PR_SET_TIMERSLACK), from 1ns to 1s; auto, the default, is 200us for a built-in handler, and for a program what preforkd was started with",
		func(s *Service) *time.Duration { return &s.TimerSlack }, parseTimerSlack, formatTimerSlack),
	choiceKey("stderr", "where workers' fd 2 leads: `STDERR` is inherit (to the master's), null, or log (into the log, line by line)",
		func(s *Service) *Stderr { return &s.Stderr }, StderrInherit, StderrNull, StderrLog),
	logKey(func(s *Service) *ConnectionLog { return &s.Log }),

	sparesKey(),
	integerKey("min-spares", "let the number of spares follow the demand, from `N` up", 0, maxSpares, func(s *Service) *int { return &s.MinSpares }),
	integerKey("max-spares", "let the number of spares follow the demand, up to `N`", 0, maxSpares, func(s *Service) *int { return &s.MaxSpares }),
	integerKey("connections-per-worker", "let a worker serve `N` connections, one after the other: faster, and less isolated", 1, math.MaxInt32,
		func(s *Service) *int { return &s.ConnectionsPerWorker }),

	integerKey("max-connections", "serve at most `N` connections at once", 1, math.MaxInt32, func(s *Service) *int { return &s.MaxConnections }),
	choiceKey("overflow", "what becomes of connections beyond max-connections: `OVERFLOW` is wait (in the kernel's queue) or refuse",
		func(s *Service) *Overflow { return &s.Overflow }, OverflowWait, OverflowRefuse),
	integerKey("max-connections-per-source", "serve at most `N` connections at once from one source; 0 is no limit", 0, math.MaxInt32,
		func(s *Service) *int { return &s.MaxConnectionsPerSource }),
	integerKey("source-prefix-v4", "a source is an IPv4 prefix of `N` bits", 0, 32, func(s *Service) *int { return &s.SourcePrefixV4 }),
	integerKey("source-prefix-v6", "a source is an IPv6 prefix of `N` bits", 0, 128, func(s *Service) *int { return &s.SourcePrefixV6 }),
	integerKey("max-sources", "remember at most `N` sources besides those with live connections", 1, 1<<24, func(s *Service) *int { return &s.MaxSources }),
	rateKey("rate", "accept connections at `RATE`, such as 50/s, 10/m or 1/h", func(s *Service) *Rate { return &s.Rate }),
	burstKey("burst", "let `N` connections come at once under rate; default is the rate's number", func(s *Service) *int { return &s.Burst }),
	rateKey("rate-per-source", "accept connections from one source at `RATE`", func(s *Service) *Rate { return &s.RatePerSource }),
	burstKey("burst-per-source", "let `N` connections come at once under rate-per-source", func(s *Service) *int { return &s.BurstPerSource }),
	parsedKey("random-early-drop", "START:PERCENT:FULL", "refuse at random, as `START:PERCENT:FULL` says: from START live connections on PERCENT of them, rising to all at FULL",
		func(s *Service) *Drop { return &s.RandomEarlyDrop }, ParseDrop, Drop.String),
	textKey("refuse-message", "TEXT", "send `TEXT` to those that are refused", func(s *Service) *string { return &s.RefuseMessage }),
	durationKey("max-lifetime", "end a connection's worker after `DURATION`: TERM, after kill-delay KILL; 0s is never", func(s *Service) *time.Duration { return &s.MaxLifetime }),
	durationKey("idle-timeout", "end a connection after `DURATION` without a byte; 0s is never", func(s *Service) *time.Duration { return &s.IdleTimeout }),
	choiceKey("leftovers", "what becomes of processes that a worker has started and leaves behind: `LEFTOVERS` is kill (what is in its process group, or has the connection's id in its environment, gets TERM and after kill-delay KILL, and the slot is free when it is gone; the default) or keep",
		func(s *Service) *Leftovers { return &s.Leftovers }, LeftoversKill, LeftoversKeep),
	boolKey("lingering-close", "when a program has ended, let its client read the answer to its end even if what it sent was not read (for handoff stdio and systemd)",
		func(s *Service) *bool { return &s.LingeringClose }),
	choiceKey("hang-up", "what becomes of a worker whose client has gone: `HANG-UP` is keep (it goes on; the default) or term (TERM after hang-up-grace, after kill-delay KILL); a client that has only half-closed has not gone",
		func(s *Service) *HangUp { return &s.HangUp }, HangUpKeep, HangUpTerm),
	durationKey("hang-up-grace", "give a worker `DURATION` to notice that its client has gone, before hang-up ends it",
		func(s *Service) *time.Duration { return &s.HangUpGrace }),

	peersKey("allow", "serve only `PEERS`: an address, a prefix, unix, uid:USER or gid:GROUP", func(s *Service) *[]PeerSet { return &s.Allow }),
	peersKey("deny", "refuse `PEERS`; the longest prefix decides, deny wins over allow", func(s *Service) *[]PeerSet { return &s.Deny }),

	integersKey("penalty-exit-codes", "refuse a source for a while when a worker of its exits with `N`", 1, 255, func(s *Service) *[]int { return &s.PenaltyExitCodes }),
	listKey("penalty-signals", "SIGNAL", "refuse a source for a while when `SIGNAL`, such as SEGV, ends a worker of its",
		func(s *Service) *[]unix.Signal { return &s.PenaltySignals }, parseSignal, formatSignal),
	listKey("penalty-limits", "LIMIT", "refuse a source for a while when a connection of its meets `LIMIT` of its box: oom (memory), tasks, cpu, runtime, file-size, or denied (a system call, with system-calls-action kill)",
		func(s *Service) *[]PenaltyLimit { return &s.PenaltyLimits }, parsePenaltyLimit, func(l PenaltyLimit) string { return string(l) }),
	durationKey("penalty", "refuse a source for `DURATION` the first time", func(s *Service) *time.Duration { return &s.Penalty }),
	integerKey("penalty-growth", "refuse it for `N` times as long each further time", 1, 100, func(s *Service) *int { return &s.PenaltyGrowth }),
	durationKey("penalty-max", "refuse it for at most `DURATION`; after as long without a new one it starts over", func(s *Service) *time.Duration { return &s.PenaltyMax }),
	peersKey("penalty-exempt", "never refuse `PEERS` for a penalty", func(s *Service) *[]PeerSet { return &s.PenaltyExempt }),
	boolKey("penalty-dry-run", "only log what penalties would refuse", func(s *Service) *bool { return &s.PenaltyDryRun }),

	peersKey("proxy-protocol", "believe and require a PROXY header from `PEERS`", func(s *Service) *[]PeerSet { return &s.ProxyProtocol }),
	durationKey("proxy-timeout", "refuse a peer whose PROXY header takes longer than `DURATION`", func(s *Service) *time.Duration { return &s.ProxyTimeout }),

	boolKey("nodelay", "send small writes at once (TCP_NODELAY)", func(s *Service) *bool { return &s.NoDelay }),
	durationKey("keepalive", "probe a peer after `DURATION` of silence; 0s is never", func(s *Service) *time.Duration { return &s.Keepalive }),
	durationKey("user-timeout", "give up a peer that has not acknowledged data, or has not taken any, for `DURATION` (TCP_USER_TIMEOUT); 0s leaves it to the kernel",
		func(s *Service) *time.Duration { return &s.UserTimeout }),
	durationKey("defer-accept", "accept a connection when its first bytes have come, or after `DURATION` (TCP_DEFER_ACCEPT); 0s is at once",
		func(s *Service) *time.Duration { return &s.DeferAccept }),
	boolKey("reuse-port", "share the port with other servers of the same user (SO_REUSEPORT)", func(s *Service) *bool { return &s.ReusePort }),
	boolKey("free-bind", "listen at addresses that this host does not have yet (IP_FREEBIND)", func(s *Service) *bool { return &s.FreeBind }),
	textKey("bind-to-device", "INTERFACE", "accept connections over `INTERFACE` only", func(s *Service) *string { return &s.BindToDevice }),
	boolKey("v6-only", "listening at [::]:port leaves the IPv4 addresses alone", func(s *Service) *bool { return &s.V6Only }),
	integerKey("backlog", "let `N` connections wait in the kernel's queue; 0 is as many as the kernel grants", 0, math.MaxInt32, func(s *Service) *int { return &s.Backlog }),
	parsedKey("socket-mode", "MODE", "give the files of unix sockets `MODE`, in octal", func(s *Service) *FileMode { return &s.SocketMode }, ParseFileMode, FileMode.String),
	textKey("socket-owner", "USER", "give the files of unix sockets to `USER`", func(s *Service) *string { return &s.SocketOwner }),
	textKey("socket-group", "GROUP", "give the files of unix sockets to `GROUP`", func(s *Service) *string { return &s.SocketGroup }),
}

// ruleKeys lists the keys of [[service.NAME.rule]].
var ruleKeys = []key[Rule]{
	notEmpty(peersKey("from", "whom the rule is about: an address, a prefix, unix, uid:USER or gid:GROUP", func(r *Rule) *[]PeerSet { return &r.From }), "it lists the peers that the rule is about"),
	choiceKey("action", "whether they are served: allow or deny", func(r *Rule) *Action { return &r.Action }, ActionAllow, ActionDeny),
	formattedIf(envKey(func(r *Rule) *[]string { return &r.Env }), func(r *Rule) bool { return len(r.Env) > 0 }),
	programKey(func(r *Rule) *[]string { return &r.Program }),
	optional(func(field func(*Rule) *int) key[Rule] {
		return integerKey("max-connections-per-source", "", 0, math.MaxInt32, field)
	}, func(r *Rule) **int { return &r.MaxConnectionsPerSource }),
	optional(func(field func(*Rule) *Rate) key[Rule] { return rateKey("rate-per-source", "", field) },
		func(r *Rule) **Rate { return &r.RatePerSource }),
	optional(func(field func(*Rule) *int) key[Rule] { return burstKey("burst-per-source", "", field) },
		func(r *Rule) **int { return &r.BurstPerSource }),
	optional(func(field func(*Rule) *time.Duration) key[Rule] { return durationKey("max-lifetime", "", field) },
		func(r *Rule) **time.Duration { return &r.MaxLifetime }),
	optional(func(field func(*Rule) *time.Duration) key[Rule] { return durationKey("idle-timeout", "", field) },
		func(r *Rule) **time.Duration { return &r.IdleTimeout }),
	optional(logKey, func(r *Rule) **ConnectionLog { return &r.Log }),
}

// masterKeys lists the keys of [master].
var masterKeys = []key[Config]{
	textKey("control", "PATH", "listen for status, drain, reload and the like at the unix socket `PATH`; auto is control.sock in the runtime directory, or else in /tmp/preforkd-UID, none is nowhere",
		func(c *Config) *string { return &c.Control }),
	parsedKey("control-mode", "MODE", "give the control socket `MODE`, in octal: who can connect can look, and only root and preforkd's own user can act",
		func(c *Config) *FileMode { return &c.ControlMode }, ParseFileMode, FileMode.String),
	textKey("control-owner", "USER", "give the control socket to `USER`", func(c *Config) *string { return &c.ControlOwner }),
	textKey("control-group", "GROUP", "give the control socket to `GROUP`", func(c *Config) *string { return &c.ControlGroup }),
	textKey("metrics", "ADDR", "serve Prometheus metrics at `ADDR` as well, a TCP address: everybody who can connect can read them", func(c *Config) *string { return &c.Metrics }),
	durationKey("drain-timeout", "how long live connections may go on after SIGTERM", func(c *Config) *time.Duration { return &c.DrainTimeout }),
	durationKey("kill-delay", "how long workers may take to end after SIGTERM before SIGKILL", func(c *Config) *time.Duration { return &c.KillDelay }),
	choiceKey("log-peer", "how much of clients the log and the status tell: `LOG-PEER` is full, prefix (an IPv4 /24, an IPv6 /48, of unix sockets the user) or none",
		func(c *Config) *LogPeer { return &c.LogPeer }, LogPeerFull, LogPeerPrefix, LogPeerNone),
	textKey("worker-binary", "PATH", "run built-in handlers in the program at `PATH` (default preforkd-worker beside preforkd, then in ../lib/preforkd)",
		func(c *Config) *string { return &c.WorkerBinary }),
}

// logKey makes the key log.
func logKey[T any](field func(*T) *ConnectionLog) key[T] {
	return choiceKey("log", "of which connections the log tells: `LOG` is all, failures (those that failed or were refused) or none; all are counted",
		field, LogAll, LogFailures, LogNone)
}

// handlerKey makes the key handler, which is printed only if the service has
// one.
func handlerKey() key[Service] {
	k := textKey("handler", "HANDLER", "run the built-in `HANDLER`", func(s *Service) *string { return &s.Handler })
	return formattedIf(k, func(s *Service) bool { return s.Handler != "" })
}

// maxSpares is the highest number of spares that a service may ask for.
const maxSpares = 100_000

// sparesKey makes the key spares, which sets min-spares and max-spares. The
// printed configuration has those two.
func sparesKey() key[Service] {
	k := integerKey("spares", "keep `N` workers ready ahead of their connections", 0, maxSpares, func(s *Service) *int { return &s.MinSpares })
	decode := k.decode
	k.decode = func(r *reader, to *Service, n *node) {
		decode(r, to, n)
		to.MaxSpares = to.MinSpares
	}
	k.format = func(*Service) (string, bool) { return "", false }
	return k
}

// resolveSpares decides what the three keys for spares mean together. Without
// max-spares, min-spares sets both limits.
func (s *Service) resolveSpares(has func(key string) bool, at Position, scope string, errs *ConfigErrors) {
	hasMin, hasMax := has("min-spares"), has("max-spares")
	switch {
	case has("spares") && (hasMin || hasMax):
		errs.add(at, "%sspares %d: stands for min-spares and max-spares, which cannot be given as well", scope, s.MinSpares)
	case hasMin && !hasMax:
		s.MaxSpares = s.MinSpares
	}
}

// formattedIf makes a key that is printed only if the condition holds.
func formattedIf[T any](k key[T], condition func(*T) bool) key[T] {
	format := k.format
	k.format = func(t *T) (string, bool) {
		if !condition(t) {
			return "", false
		}
		return format(t)
	}
	return k
}

// notEmpty makes a key whose list must have items.
func notEmpty[T any](k key[T], meaning string) key[T] {
	decode := k.decode
	k.decode = func(r *reader, to *T, n *node) {
		decode(r, to, n)
		if n.kind == kindList && len(n.items) == 0 {
			r.report(k.name, n, "is empty; %s", meaning)
		}
	}
	return k
}

func programKey[T any](field func(*T) *[]string) key[T] {
	k := notEmpty(textsKey("program", "PROGRAM", "run `PROGRAM` for each connection", field), "the first item is the program, the others are its arguments")
	return formattedIf(k, func(t *T) bool { return len(*field(t)) > 0 })
}

func envKey[T any](field func(*T) *[]string) key[T] {
	return listKey("env", "NAME=VALUE", "give workers the variable `NAME=VALUE`, or the master's own value with NAME alone", field, parseVariable, formatText)
}

func parseVariable(s string) (string, error) {
	name, value, _ := strings.Cut(s, "=")
	switch {
	case name == "" || strings.ContainsAny(name, "\x00 "):
		return "", fmt.Errorf(`must be "NAME=value", or "NAME" for the master's own value`)
	case strings.Contains(value, "\x00"):
		return "", fmt.Errorf("must not hold a NUL byte")
	case slices.Contains(reservedVariables, name):
		return "", fmt.Errorf("%s is set by preforkd for each connection", name)
	}
	return s, nil
}

func rateKey[T any](name, usage string, field func(*T) *Rate) key[T] {
	return parsedKey(name, "RATE", usage, field, ParseRate, Rate.String)
}

// burstKey makes a key whose value is an integer, or the same integer as a
// string. The rate beside it is written as a string.
func burstKey[T any](name, usage string, field func(*T) *int) key[T] {
	k := integerKey(name, usage, 0, maxCount, field)
	decode := k.decode
	k.decode = func(r *reader, to *T, n *node) {
		if n.kind == kindText && isDigits(n.text) {
			number := *n
			number.kind, number.text = kindInteger, strings.TrimLeft(n.text[:len(n.text)-1], "0")+n.text[len(n.text)-1:]
			n = &number
		}
		decode(r, to, n)
	}
	return k
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func peersKey[T any](name, usage string, field func(*T) *[]PeerSet) key[T] {
	return listKey(name, "PEERS", usage, field, ParsePeerSet, PeerSet.String)
}

func parseSignal(s string) (unix.Signal, error) {
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(s, "SIG"))
	if sig == 0 {
		return 0, fmt.Errorf(`must be the name of a signal, such as "SEGV" or "KILL"`)
	}
	return sig, nil
}

func formatSignal(sig unix.Signal) string { return strings.TrimPrefix(unix.SignalName(sig), "SIG") }

// oomScoreAdjustKey is a number or the word auto.
func oomScoreAdjustKey() key[Service] {
	return autoKey(integerKey("oom-score-adjust", "adjust the OOM score of workers to `N`, from -1000 (never killed) to 1000; auto, the default, is preforkd's own, or 0 if that is negative",
		oomscore.Lowest, oomscore.Highest, func(s *Service) *int { return &s.OOMScoreAdjust.Value }), func(s *Service) *OptionalInt { return &s.OOMScoreAdjust })
}

// autoKey makes a key whose value may also be the word auto, which stands for
// none. The key that it is made of has the value of field.
func autoKey[T any](k key[T], field func(*T) *OptionalInt) key[T] {
	const auto = "auto"
	decode, format := k.decode, k.format
	k.decode = func(r *reader, to *T, n *node) {
		if n.text == auto {
			*field(to) = OptionalInt{}
			return
		}
		if n.kind == kindText {
			r.report(k.name, n, "must be %s or %s", kindInteger, auto)
			return
		}
		field(to).Set = true
		decode(r, to, n)
	}
	k.format = func(from *T) (string, bool) {
		if !field(from).Set {
			return tomlString(auto), true
		}
		return format(from)
	}
	return k
}
