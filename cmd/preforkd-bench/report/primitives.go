package report

import (
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// Primitives is a line of what the machine of a run takes for what servers are
// made of, without an end of line. It stands above every table: ratios depend on
// it. The unit is microseconds. Nothing is returned when nothing was measured.
func Primitives(p result.Primitives) string {
	if len(p) == 0 {
		return ""
	}
	us := func(name result.Primitive) string {
		if v, ok := p[name]; ok {
			return number(v / 1000)
		}
		return "-"
	}
	return "This machine, in us: spawn of an empty program " + us(result.Spawn) +
		" (with musl " + us(result.SpawnMusl) + ", with glibc " + us(result.SpawnLibc) + "), " +
		strings.Join([]string{
			"page fault " + us(result.Fault), "CPUID " + us(result.CPUID), "system call " + us(result.Syscall),
			"context switch " + us(result.Switch), "nap of 20 " + us(result.Nap),
		}, ", ") + " (CPU " + us(result.NapCPU) + ")"
}

// primitives is the line for a table of text, with an end of line.
func primitives(r *result.Record) string {
	if line := Primitives(r.Primitives); line != "" {
		return line + "\n"
	}
	return ""
}
