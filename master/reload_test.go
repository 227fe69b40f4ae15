package master

import (
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/config"
)

// Every name is looked up before the loop has to do with a configuration: that
// of the metrics' address, too. This one is nobody's (RFC 6761, section 6.4).
func TestResolveLooksEveryNameUp(t *testing.T) {
	const nowhere = "nobody.invalid:9107"
	service, err := config.ParseAddress(nowhere)
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]config.Config{
		"bind service echo: listen nobody.invalid:9107: ": {Services: []config.Service{{Name: "echo", Listen: []config.Address{service}}}},
		"serve metrics: listen nobody.invalid:9107: ":     {Metrics: nowhere},
	} {
		if err := resolve(&cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s...", err, want)
		}
	}
	if err := resolve(&config.Config{Metrics: ":0"}); err != nil {
		t.Error(err)
	}
}
