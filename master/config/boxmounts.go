package config

import (
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/box/mounts"
)

// Mounts returns what the box makes of the file system.
func (b *Box) Mounts() mounts.Config {
	c := mounts.Config{
		ReadOnly:             b.ProtectSystem == ProtectSystemStrict,
		Root:                 b.RootDirectory,
		ReadWritePaths:       b.ReadWritePaths,
		ReadOnlyPaths:        b.ReadOnlyPaths,
		InaccessiblePaths:    b.InaccessiblePaths,
		TemporaryFileSystems: b.TemporaryFileSystem,
		PrivateTmp:           b.PrivateTmp,
		TmpSize:              uint64(b.PrivateTmpSize),
		PrivateDevices:       b.PrivateDevices,
		ProtectProc:          b.ProtectProc,
		ProtectHome:          b.ProtectHome,
		ProtectKernel:        b.ProtectKernel,
		PrivatePIDs:          b.PrivatePIDs,
		PrivateIPC:           b.PrivateIPC,
	}
	for _, p := range b.BindPaths {
		c.Binds = append(c.Binds, mounts.Bind{Source: p.Source, Target: p.Target, ReadOnly: p.ReadOnly})
	}
	return c
}

// IsReadOnly reports whether everything is read-only but what keys leave writable and
// what each connection has of its own.
func (b *Box) IsReadOnly() bool {
	return b.ProtectSystem == ProtectSystemStrict ||
		slices.ContainsFunc(b.ReadOnlyPaths, func(path string) bool { return strings.TrimPrefix(path, mayBeMissing) == "/" })
}

// HasMounts reports whether the box has a file system of its own.
func (b *Box) HasMounts() bool {
	return b.ProtectSystem == ProtectSystemStrict || b.RootDirectory != "" || b.PrivateTmp || b.PrivatePIDs ||
		b.PrivateDevices || b.ProtectProc || b.ProtectHome || b.ProtectKernel ||
		len(b.ReadWritePaths)+len(b.ReadOnlyPaths)+len(b.InaccessiblePaths)+len(b.TemporaryFileSystem)+len(b.BindPaths) > 0
}
