package manual

import (
	"fmt"
	"strings"

	"github.com/preforkd/preforkd/master/config"
)

const configurationPage = "preforkd.toml"

// configuration returns the page of the configuration file.
func configuration(o Options) string {
	var p page
	p.title(configurationPage, 5, o)
	p.section("NAME")
	p.WriteString(escape(configurationPage) + ` \- configuration of preforkd` + "\n")
	p.section("DESCRIPTION")
	p.prose(`The file that preforkd serve --config reads, and reads again at SIGHUP and
preforkd reload. It is TOML (toml.io). All of it is checked before any of it is
used; preforkd check says what is wrong with a file, and prints it with all
defaults when nothing is.

Durations are written "1h30m", "5s" or "100ms", rates "50/s", "10/m" or "1/h".
"0s", "none", 0 and "" mean that there is none. What holds for each connection
is taken from the service that it belongs to.`)
	for _, t := range config.Tables() {
		p.section(t.Name)
		p.prose(t.About)
		for _, k := range t.Keys {
			term := bold(k.Name) + " (" + escape(k.Kind) + ")"
			usage := upperFirst(strings.ReplaceAll(k.Usage, "`", ""))
			if k.Default != "" {
				usage += fmt.Sprintf(" (default %s)", k.Default)
			}
			p.item(term, usage+".")
		}
	}
	p.section("WHO GETS IN")
	p.content(whoGetsIn)
	p.section("RELOAD")
	p.prose(reload)
	p.section("EXAMPLE")
	p.example(strings.Split(Example, "\n"))
	p.section("SEE ALSO")
	p.WriteString(bold("preforkd-serve") + "(1),\n" + bold("preforkd-check") + "(1)\n")
	return p.String()
}

// Example is the configuration that the page shows.
const Example = `[master]
drain-timeout = "30s"

[service.echo]
listen  = ["127.0.0.1:7007", "unix:@echo"]
handler = "echo"

[service.time]
listen  = [":7013"]
program = ["/bin/date", "-u"]
max-connections            = 200
max-connections-per-source = 10
allow = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]

[[service.time.rule]]
from            = ["10.1.0.0/16"]
env             = ["TZ=Antarctica/Troll"]
rate-per-source = "1/s"`

// whoGetsIn tells of every reason for a refusal, in the order in which a
// connection meets them.
var whoGetsIn = Section{Text: `A source is an IPv4 address, an IPv6 /64 (source-prefix-v4, source-prefix-v6) or a
user at a unix socket. A refused connection is closed at once, or sent
refuse-message first. Every limit lets a source in again by itself. What is
remembered of sources is bounded by max-sources: beyond it the longest unused are
forgotten, but never a live connection or a penalty that is being served.

A rule changes what holds for some peers, as the rules of tcpserver do: more env,
another program, other limits.

The peers of proxy-protocol are load balancers. Their PROXY header (version 1 or 2)
is believed, and required. Limits, rules, environment and log then speak of the
client that the header names, and the log adds the balancer as via. Peers that are
not listed are clients themselves. A connection that waits for its header holds no
process and no slot. A header of version 2 may be as long as the format allows,
65,551 bytes, so that a client's certificate fits. What long headers take that are
incomplete is bounded by 4 MiB for all services. A checksum (CRC32c) is verified.

These are the reasons for a refusal, in the order in which they are looked at. The
log and the counters name them so.`, Items: []Item{
	{"denied", "allow, deny and rules: the longest prefix decides, and deny on equal ones. It passes when the configuration changes"},
	{"penalty", "penalty-exit-codes, penalty-signals, penalty-limits: earlier workers of the source ended badly. The penalty grows up to penalty-max"},
	{"early-drop", "random-early-drop: at random, while the service fills up"},
	{"max-connections-per-source", "it passes when a worker of the source has ended"},
	{"rate-per-source", "with burst-per-source: it passes when the rate allows one more"},
	{"rate", "with burst: it passes when the rate allows one more"},
	{"max-connections", "with overflow = \"refuse\": it passes when a worker has ended. With \"wait\" the connection waits in the kernel's queue"},
	{"proxy-missing", "proxy-protocol: a believed proxy sent no PROXY header"},
	{"proxy-malformed", "proxy-protocol: the header is against its specification, or its checksum is wrong; error in the log says more"},
	{"proxy-oversized", "proxy-protocol: a header of version 1 is longer than the 107 bytes that its specification allows"},
	{"proxy-timeout", "proxy-timeout: the header took too long"},
	{"proxy-crowded", "too many others wait for their header, and this one waited longest; or long headers that are incomplete take all memory"},
	{"draining", "the service stops"},
	{"gone", "the client reset the connection while it waited, for a slot or for descriptors. One that has only ended its own direction is served"},
}}

const reload = `On SIGHUP, and for preforkd reload, the file is read again and checked as a whole.
If anything is wrong with it, or a new address cannot be bound, nothing changes,
and the log says why (not reloaded).

Listeners that stay lose no connection. Listeners that go stop accepting, and
their connections finish. Limits hold at once for live connections, too. Spares of
a changed service are replaced. The event reloaded says what has changed.

An address may change its form, such as :80 for 127.0.0.1:80 or a name for its
address, and move to another service or to the metrics. reuse-port, free-bind,
bind-to-device and v6-only may change, too. Such a listener is bound anew beside
the old one. Those who wait at the old one are served by the service that has
its address now, and then it is closed. An address that a socket unit of systemd
has passed cannot move.

A listener that no client can reach any more is bound anew by the next reload:
its network interface was deleted and made again, or the file of its unix socket
was removed. If it is bound to an interface (bind-to-device, or the zone of a
link-local address) that also happens by itself within seconds.`
