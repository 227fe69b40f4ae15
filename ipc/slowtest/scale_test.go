package slowtest

import (
	"testing"
	"time"
)

func TestFactor(t *testing.T) {
	for _, c := range []struct {
		name        string
		spawn, page time.Duration
		byHand      string
		want        float64
	}{
		{"a usual machine", time.Millisecond, 200 * time.Nanosecond, "", 1},
		{"slow to spawn", 3 * usualSpawn, usualPage, "", 3},
		{"slow at new memory", usualSpawn, 8 * usualPage, "", 8},
		{"slow at both", 3 * usualSpawn, 8 * usualPage, "", 8},
		{"nearly standing still", 1000 * usualSpawn, usualPage, "", maxFactor},
		{"nothing could be measured", 0, 0, "", 1},
		{"raised by hand", usualSpawn, usualPage, "20.5", 20.5},
		{"not lowered by hand", 5 * usualSpawn, usualPage, "2", 5},
		{"not lowered below 1", usualSpawn, usualPage, "0.5", 1},
		{"no number", 2 * usualSpawn, usualPage, "fast", 2},
		{"infinite", 2 * usualSpawn, usualPage, "inf", 2},
		{"not a number", 2 * usualSpawn, usualPage, "nan", 2},
	} {
		if got := factor(c.spawn, c.page, c.byHand); got != c.want {
			t.Errorf("%s: the factor is %v, want %v", c.name, got, c.want)
		}
	}
}

func TestScale(t *testing.T) {
	if spawn, page := spawnTime(), pageTime(); spawn <= 0 || page <= 0 {
		t.Errorf("a spawn is measured as %v, a page as %v", spawn, page)
	} else {
		t.Logf("a spawn takes %v, a page %v, the factor is %v", spawn, page, Factor())
	}
	if got := Scale(time.Second); got < time.Second || got != time.Duration(Factor()*float64(time.Second)) {
		t.Errorf("a second is scaled to %v by %v", got, Factor())
	}
}
