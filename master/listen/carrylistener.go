package listen

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// What of a Listener does not go over to the program that takes over:
//
//   - whether its socket is in an attic, and in which set it is watched: that program has
//     other threads and other sets, and does both again
//   - wildcard and shown, which follow from the rest

// A ListenerState is a Listener in the state that a master hands to the next one.
type ListenerState struct {
	FD     carry.FD       `json:"fd"`
	Local  netip.AddrPort `json:"local"` // "" for a unix socket
	V6Only bool           `json:"v6_only"`
	Path   []byte         `json:"path"` // of a unix socket
	// Interface is the index of the one that the socket is bound to, or 0, and Device its
	// name then.
	Interface int    `json:"interface"`
	Device    []byte `json:"device"`
	// FileDevice and FileInode are those of the file of a unix socket, or 0. Directory is
	// where Close removes it, None if it does not.
	FileDevice uint64   `json:"file_device"`
	FileInode  uint64   `json:"file_inode"`
	Directory  carry.FD `json:"directory"`
	Adopted    bool     `json:"adopted"`
}

// Export returns the state of the listener. A socket in an attic gets a copy in the table
// of the process, until DropCopy. The listener is not closed meanwhile.
func (l *Listener) Export(d *carry.Descriptors) (ListenerState, error) {
	fd, err := l.descriptor.copyHere()
	if err != nil {
		return ListenerState{}, fmt.Errorf("hand over listener %s: %w", l.Local(), err)
	}
	s := ListenerState{
		FD: d.Keep(fd), Local: l.local, V6Only: l.v6Only, Path: []byte(l.path), Interface: l.index, Device: []byte(l.device),
		FileDevice: l.fileDevice, FileInode: l.fileInode, Directory: carry.None, Adopted: l.adopted,
	}
	if l.bound != nil {
		s.Directory = d.Keep(l.bound.dir.fd)
	}
	return s, nil
}

// DropCopy ends what Export has begun, because no other program takes over.
func (l *Listener) DropCopy() { l.descriptor.dropCopy() }

// copyHere returns the descriptor, or a copy of it in the table of the process that stays
// until dropCopy.
func (d *descriptor) copyHere() (fd int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return -1, ErrClosed
	case d.attic == nil:
		return d.fd, nil
	case d.copied == 0:
		if fd, err = d.attic.thread.Lend(d.fd); err != nil {
			return -1, err
		}
		d.copied = fd
	}
	return d.copied, nil
}

func (d *descriptor) dropCopy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.copied != 0 {
		unix.Close(d.copied)
		d.copied = 0
	}
}

// RestoreListener makes a listener again. It touches neither the socket nor its file.
func RestoreListener(s *ListenerState, d *carry.Descriptors) (*Listener, error) {
	path, device := string(s.Path), string(s.Device)
	switch {
	case s.Local.IsValid() == (path != ""):
		return nil, errors.New("a listener has either an address or a path")
	case s.Interface < 0 || len(device) >= unix.IFNAMSIZ || bytes.ContainsRune(s.Device, 0):
		return nil, fmt.Errorf("listener %s: no interface is called %q and has the index %d", s.Local, device, s.Interface)
	case path == "" && (s.Directory != carry.None || s.FileInode != 0), s.Directory != carry.None && (s.FileInode == 0 || strings.HasPrefix(path, "@")):
		return nil, fmt.Errorf("listener %s%s has no file", s.Local, path)
	}
	fd, err := d.Take(s.FD)
	if err == nil && fd < 0 {
		err = errors.New("there is no descriptor")
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s%s: %w", s.Local, path, err)
	}
	l := &Listener{
		descriptor: descriptor{fd: fd}, local: s.Local, shown: s.Local, v6Only: s.V6Only, path: path, index: s.Interface, device: device,
		fileDevice: s.FileDevice, fileInode: s.FileInode, adopted: s.Adopted,
	}
	l.wildcard = path == "" && l.local.Addr().IsUnspecified()
	if zone := l.local.Addr().Zone(); zone != "" && device != "" && zone == fmt.Sprint(l.index) {
		l.shown = netip.AddrPortFrom(l.local.Addr().WithZone(device), l.local.Port())
	}
	if s.Directory == carry.None {
		return l, nil
	}
	dir, err := d.Take(s.Directory)
	if err != nil {
		return nil, fmt.Errorf("listener %s: directory: %w", path, err)
	}
	l.bound = &boundPath{dir: &directory{fd: dir, path: filepath.Dir(path)}, path: path, dev: s.FileDevice, ino: s.FileInode}
	return l, nil
}
