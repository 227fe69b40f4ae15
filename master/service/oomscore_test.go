package service

import (
	"testing"

	"github.com/preforkd/preforkd/master/config"
)

func TestOOMScoreAdjust(t *testing.T) {
	set := func(n int) config.OptionalInt { return config.OptionalInt{Set: true, Value: n} }
	const inherited = 4711
	for _, c := range []struct {
		own        int
		configured config.OptionalInt
		want       int
	}{
		{0, config.OptionalInt{}, inherited},
		{300, config.OptionalInt{}, inherited},
		{-1000, config.OptionalInt{}, 0},
		{-1, config.OptionalInt{}, 0},
		{-500, set(-500), inherited},
		{-500, set(0), 0},
		{-500, set(100), 100},
		{0, set(-100), -100},
		{300, set(0), 0},
		{0, set(0), inherited},
	} {
		got := inherited
		if adjust := oomScoreAdjust(c.own, c.configured); adjust != nil {
			got = *adjust
		}
		if got != c.want {
			t.Errorf("the master's %d, configured %+v: %d, want %d", c.own, c.configured, got, c.want)
		}
	}
}
