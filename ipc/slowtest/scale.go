package slowtest

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// EnvFactor names the variable that raises the factor by hand. The factor is
// never lower than what was measured.
const EnvFactor = "PREFORKD_TEST_SLOW"

// What the two measured steps take on a usual machine. Both are on the high
// side, so that a usual machine has a factor of 1.
const (
	usualSpawn = 2 * time.Millisecond   // start, run and reap /bin/true
	usualPage  = 1500 * time.Nanosecond // the first write to a page of memory
)

// maxFactor keeps a test that hangs from taking hours. A machine that is slower
// still needs EnvFactor.
const maxFactor = 12

// Scale returns a duration that is at least as long as d: d on a usual machine,
// and more on a slower one.
func Scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) * Factor())
}

// Factor returns how much slower this machine is than a usual one. It is at
// least 1. It is measured once in a process, when it is first needed.
func Factor() float64 { return measured() }

var measured = sync.OnceValue(func() float64 {
	return factor(spawnTime(), pageTime(), os.Getenv(EnvFactor))
})

// factor judges what was measured. A measurement of 0 is one that failed.
func factor(spawn, page time.Duration, byHand string) float64 {
	f := max(1, float64(spawn)/float64(usualSpawn), float64(page)/float64(usualPage))
	f = min(f, maxFactor)
	if least, err := strconv.ParseFloat(byHand, 64); err == nil && !math.IsInf(least, 0) && !math.IsNaN(least) {
		f = max(f, least)
	}
	return f
}

// spawnTime returns the median time that a small program takes from its start
// to its end.
func spawnTime() time.Duration {
	var times []time.Duration
	for range 7 {
		began := time.Now()
		if exec.Command("true").Run() != nil {
			return 0
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// pageTime returns what the first write to a page of new memory takes. Huge
// pages are refused: programs that start do not get them.
func pageTime() time.Duration {
	const pages = 1024
	size := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, pages*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0
	}
	defer unix.Munmap(memory)
	unix.Madvise(memory, unix.MADV_NOHUGEPAGE) // refused where there are none
	began := time.Now()
	for i := range pages {
		memory[i*size] = 1
	}
	return time.Since(began) / pages
}
