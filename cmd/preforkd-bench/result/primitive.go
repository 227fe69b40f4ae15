package result

// A Primitive is the name of something that servers are made of and that the
// machine takes its own time for.
type Primitive string

// The primitives. Those that are spawns are vfork, exec, exit and wait of a
// static program that does nothing.
const (
	Spawn     Primitive = "spawn"       // the program has no C library
	SpawnMusl Primitive = "spawn-musl"  // it is linked with musl
	SpawnLibc Primitive = "spawn-glibc" // it is linked as gcc links by itself
	Fault     Primitive = "fault"       // the first write to a page
	CPUID     Primitive = "cpuid"       // the instruction; a virtual machine leaves for its host
	Syscall   Primitive = "syscall"     // one that does nothing
	Switch    Primitive = "switch"      // from process to process on one processor, through a pipe
	Nap       Primitive = "nap"         // nanosleep of 20 us, by the clock
	NapCPU    Primitive = "napcpu"      // the same, CPU time of who naps
)

// AllPrimitives are all of them, in the order of reports.
var AllPrimitives = []Primitive{Spawn, SpawnMusl, SpawnLibc, Fault, CPUID, Syscall, Switch, Nap, NapCPU}

// Primitives are what a machine takes, in nanoseconds. What was not measured is
// not there.
type Primitives map[Primitive]float64
