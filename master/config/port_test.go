package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseServices(t *testing.T) {
	got, err := parseServices(strings.NewReader(`# a comment
tcpmux		1/tcp				# a comment
echo		7/tcp
echo		7/udp
discard		9/tcp		sink null
tftp		69/udp
whois++ 63/tcp
finger		79/tcp
sink 80/tcp		finger	# both known already
nonsense
high 65536/tcp
none x/tcp
bare 5
last 65535/tcp`))
	want := map[string]uint16{"tcpmux": 1, "echo": 7, "discard": 9, "sink": 9, "null": 9, "whois++": 63, "finger": 79, "last": 65535}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// The name of a service stands for its port wherever an address is written. The
// names of these are known without the file, too.
func TestPortNames(t *testing.T) {
	for s, want := range map[string]string{":ssh": ":22", "127.0.0.1:http": "127.0.0.1:80", "[::1]:https": "[::1]:443", "localhost:smtp": "localhost:25"} {
		if a, err := ParseAddress(s); err != nil || a.String() != want {
			t.Errorf("ParseAddress(%q) = %v, %v; want %s", s, a, err, want)
		}
	}
}
