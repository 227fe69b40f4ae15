package proc

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

// machineBusy returns how long all CPUs together have done anything at all:
// user, nice, system, irq and softirq of proc_stat(5). Stolen time is the
// hypervisor's, guest time is in user already.
func machineBusy() (time.Duration, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("read machine time: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, fmt.Errorf("read machine time: %w", err)
	}
	c := stat.CPUTotal
	return time.Duration((c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ) * float64(time.Second)), nil
}

// AvailableMemory returns the machine's MemAvailable in bytes. Its fall while
// connections are opened is what they cost with everything the kernel keeps
// for them; it belongs to the machine, so other processes disturb it.
func AvailableMemory() (int64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("read available memory: %w", err)
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("read available memory: %w", err)
	}
	if info.MemAvailableBytes == nil {
		return 0, errors.New("read available memory: the kernel does not tell MemAvailable")
	}
	return int64(*info.MemAvailableBytes), nil
}
