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
	p.section("EXAMPLE")
	p.example(strings.Split(`[master]
drain-timeout = "30s"

[service.echo]
listen  = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
handler = "echo"

[service.git]
listen  = [":9418"]
program = ["/usr/bin/git", "daemon", "--inetd", "--export-all", "/srv/git"]
user    = "git"
max-connections            = 200
max-connections-per-source = 10
allow = ["10.0.0.0/8", "fd00::/8"]

[[service.git.rule]]
from            = ["10.1.0.0/16"]
rate-per-source = "1/s"`, "\n"))
	p.section("SEE ALSO")
	p.WriteString(bold("preforkd-serve") + "(1),\n" + bold("preforkd-check") + "(1)\n")
	return p.String()
}
