package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	ip := netip.MustParseAddr
	for s, want := range map[string]Address{
		"127.0.0.1:7007":       {IP: ip("127.0.0.1"), Port: 7007},
		"0.0.0.0:0":            {IP: ip("0.0.0.0")},
		":7007":                {Port: 7007},
		":0":                   {},
		"[::1]:65535":          {IP: ip("::1"), Port: 65535},
		"[::]:1":               {IP: ip("::"), Port: 1},
		"[fe80::1%eth0]:7":     {IP: ip("fe80::1%eth0"), Port: 7},
		"[::ffff:10.0.0.1]:7":  {IP: ip("10.0.0.1"), Port: 7},
		"localhost:7007":       {Host: "localhost", Port: 7007},
		"a-b.example.:1":       {Host: "a-b.example.", Port: 1},
		"under_score:1":        {Host: "under_score", Port: 1},
		"unix:/run/x.sock":     {Path: "/run/x.sock"},
		"unix:x.sock":          {Path: "x.sock"},
		"unix:@name":           {Path: "@name"},
		"unix:/with:colon and": {Path: "/with:colon and"},
	} {
		got, err := ParseAddress(s)
		if err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestParseAddressSaysWhatIsWrong(t *testing.T) {
	for s, want := range map[string]string{
		"":                     "the port is missing",
		"7007":                 "the port is missing",
		"localhost":            "the port is missing",
		"localhost:":           `port "" is not a number`,
		"localhost:no-such":    `port "no-such" is neither a number from 0 to 65535 nor a TCP service in /etc/services`,
		":tftp":                `port "tftp" is neither a number from 0 to 65535 nor a TCP service`, // UDP only
		":a/b":                 `port "a/b" is not a number from 0 to 65535`,
		"127.0.0.1:65536":      `port "65536" is not a number from 0 to 65535`,
		"127.0.0.1:-1":         `port "-1"`,
		"127.0.0.1:+1":         `port "+1"`,
		"::1:7007":             "in brackets",
		"[::1]7007":            `the port is missing; write "[::1]:port"`,
		"[::1]":                "the port is missing",
		"[::1:7007":            "the closing bracket is missing",
		"[127.0.0.1]:7007":     "brackets hold an IPv6 address",
		"[]:7007":              `"" is not an IPv6 address`,
		"[nonsense]:7007":      "is not an IPv6 address",
		"127.0.0.1.1:7007":     "neither an IP address nor a host name",
		"256.0.0.1:7007":       "neither an IP address nor a host name",
		"white space:7007":     "neither an IP address nor a host name",
		"-x:7007":              "neither an IP address nor a host name",
		"a..b:7007":            "neither an IP address nor a host name",
		"/run/x.sock":          `is written "unix:/run/x.sock"`,
		"@name":                `is written "unix:@name"`,
		"unix:":                "path of the unix socket is missing",
		"unix:@":               "path of the unix socket is missing",
		"unix:/a\x00b":         "NUL byte",
		"unix:/" + long(107):   "has 108 bytes, at most 107 are allowed",
		long(64) + ":7007":     "neither an IP address nor a host name",
		"tcp://127.0.0.1:7007": "in brackets",
	} {
		if a, err := ParseAddress(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q) = %+v, %v; want an error with %q", s, a, err, want)
		}
	}
	if _, err := ParseAddress("unix:/" + long(106)); err != nil {
		t.Errorf("a path of 107 bytes: %v", err)
	}
}

func long(n int) string { return strings.Repeat("x", n) }

// Whatever parses as an address prints to a text that parses to the same
// address. No error has more than one line.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:7007", ":0", "[::1%lo]:1", "localhost:1", "unix:/x", "unix:@x", "[::ffff:1.2.3.4]:5", "a:b:c", ":ssh", ":no-such", "[", "/\n", "[\x1b]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x1b") {
				t.Errorf("ParseAddress(%q): error of several lines %q", s, err)
			}
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%q parses to %+v, printed as %q parses to %+v, %v", s, a, a, again, err)
		}
	})
}
