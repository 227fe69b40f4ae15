package mounts

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// NewView returns a View of the box that Build makes of a Config. It goes through the
// same steps in the same order, without a namespace and without capabilities.
//
// The errors are what Build would fail for, as far as that can be told: each is a
// *PathError, or is about the Config on any machine. There is no View with errors.
// Otherwise the caller must call Close.
func NewView(c Config) (*View, []error) {
	if err := c.validate(); err != nil {
		return nil, []error{err}
	}
	l := &looker{v: &View{c: c, mounted: map[string]node{}}}
	if err := l.openTrees(); err != nil {
		l.v.Close()
		return nil, []error{err}
	}
	for _, step := range []func(){l.makeTemporary, l.makeDevices, l.attachBinds, l.hide, l.findAccess, l.findCellMounts, l.checkPlaced} {
		step()
	}
	if len(l.errs) > 0 {
		l.v.Close()
		return nil, l.errs
	}
	return l.v, nil
}

// A looker makes a View.
type looker struct {
	v       *View
	sources []node // of the Config's binds; without a type where one may be missing
	placed  []placed
	access  []access
	errs    []error
}

func (l *looker) fail(err error) bool {
	if err != nil {
		l.errs = append(l.errs, err)
	}
	return err != nil
}

// openTrees opens the sources of binds and the root. Without a root nothing else can be
// told.
func (l *looker) openTrees() error {
	host, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{key: l.v.c.key(), path: "/"}.errorf("%w", err)
	}
	defer unix.Close(host)
	machine := resolver{root: host, prefix: "/"}
	root, _, err := openRoot(machine, l.v.c)
	if err != nil {
		return err
	}
	l.v.fds = append(l.v.fds, root)
	l.v.root = node{fd: root, kind: unix.S_IFDIR}
	for _, b := range l.v.c.Binds {
		fd, _, err := machine.find(b.sourcePlace())
		source := node{fd: fd}
		if err == nil && fd >= 0 {
			l.v.fds = append(l.v.fds, fd)
			source, err = newNode(fd)
		}
		l.fail(err)
		l.sources = append(l.sources, source)
	}
	l.v.covers = l.coversAt(false, cellDirectories(l.v.c))
	return nil
}

// coversAt returns the covers that are made at some places. What is missing is not
// covered.
func (l *looker) coversAt(hides bool, places []place) (all []cover) {
	for _, p := range places {
		p.optional = true
		n, real, there, err := l.v.find(p)
		if !l.fail(err) && there {
			n.close()
			all = append(all, cover{key: p.key, path: real, hides: hides})
		}
	}
	return all
}

// mount puts something at a path without links.
func (l *looker) mount(real string, n node) {
	for below := range l.v.mounted {
		if within(below, real) {
			delete(l.v.mounted, below)
		}
	}
	l.v.mounted[real] = n
}

// locate finds a place that a key changes, and reports false if there is nothing to
// change. The caller must close the node.
func (l *looker) locate(p place) (n node, real string, there bool, err error) {
	n, real, there, err = l.v.find(p)
	if err != nil {
		if e := checkCovered(l.v.covers, p, p.path); e != nil {
			return node{}, "", false, e
		}
		hidden := p.key == keyReadOnly && isHidden(l.v.covers, p.path)
		if hidden || l.lacksDev() && within(p.path, "/dev") {
			return node{}, "", false, nil
		}
		return node{}, "", false, err
	}
	if !there {
		return node{}, "", false, nil
	}
	if err := checkRootItself(p, real); err != nil {
		n.close()
		return node{}, "", false, err
	}
	l.placed = append(l.placed, placed{place: p, real: real})
	return n, real, true, nil
}

// target finds a place at which something is to be mounted, or finds out where Build
// would create it.
func (l *looker) target(p place, kind uint32) (n node, real string, there bool, err error) {
	n, real, there, err = l.locate(p)
	if !isMissing(err) {
		return n, real, there, err
	}
	if real, created := l.create(p.path); created {
		l.placed = append(l.placed, placed{place: p, real: real})
		return node{fd: -1, kind: kind, own: true}, real, true, nil
	}
	return node{}, "", false, notCreated(err)
}

// create returns where a path would be created. It reports false if that would be in a
// file system of the machine.
func (l *looker) create(name string) (real string, created bool) {
	rest := ""
	for {
		name, rest = path.Dir(name), path.Join(path.Base(name), rest)
		n, real, err := l.v.walk(name, true)
		if err == nil {
			n.close()
			return path.Join(real, rest), n.own && n.isDirectory()
		}
		if !isMissing(err) || name == "/" {
			return "", false
		}
	}
}

func (l *looker) makeTemporary() {
	for _, p := range newPlaces(keyTemporary, l.v.c.TemporaryFileSystems) {
		n, real, there, err := l.target(p, unix.S_IFDIR)
		if l.fail(err) || !there {
			continue
		}
		n.close()
		if !n.isDirectory() {
			l.fail(p.errorf("%w", unix.ENOTDIR))
			continue
		}
		l.mount(real, node{fd: -1, kind: unix.S_IFDIR, own: true})
	}
}

func (l *looker) makeDevices() {
	if !l.v.c.PrivateDevices {
		return
	}
	n, real, _, err := l.v.find(newPlace(keyPrivateDevices, "/dev"))
	if l.fail(err) {
		return
	}
	n.close()
	l.v.dev = real
	l.mount(real, node{fd: -1, kind: unix.S_IFDIR, own: true})
}

// lacksDev reports whether there is nothing to mount a private /dev on. That was told, and
// what is missing in there need not be.
func (l *looker) lacksDev() bool { return l.v.c.PrivateDevices && l.v.dev == "" }

func (l *looker) attachBinds() {
	for _, i := range bindOrder(l.v.c.Binds) {
		bind, source := l.v.c.Binds[i], l.sources[i]
		if source.kind == 0 {
			continue
		}
		p := place{key: keyBind, path: bind.Target}
		n, real, there, err := l.target(p, source.kind)
		if l.fail(err) || !there {
			continue
		}
		n.close()
		if n.isDirectory() != source.isDirectory() {
			l.fail(unlike(bind))
			continue
		}
		l.mount(real, source)
		l.access = append(l.access, access{placed: placed{place: p, real: real}, readOnly: bind.ReadOnly})
	}
}

func (l *looker) hide() {
	var found []placed
	kinds := map[string]uint32{}
	for _, p := range hidden(l.v.c) {
		n, real, there, err := l.locate(p)
		if !l.fail(err) && there {
			n.close()
			kinds[real] = n.kind
			found = append(found, placed{place: p, real: real})
		}
	}
	slices.SortStableFunc(found, func(x, y placed) int { return compareDepth(x.real, y.real) })
	for _, p := range found {
		if isHidden(l.v.covers, p.real) {
			continue
		}
		c := cover{key: p.key, path: p.real, hides: true}
		kind := uint32(unix.S_IFREG)
		if kinds[p.real] == unix.S_IFDIR {
			kind = unix.S_IFDIR
		}
		l.mount(p.real, node{fd: -1, kind: kind, by: &c})
		l.v.covers = append(l.v.covers, c)
	}
}

func (l *looker) findAccess() {
	for _, p := range accessPlaces(l.v.c) {
		n, real, there, err := l.locate(p)
		if l.fail(err) || !there {
			continue
		}
		n.close()
		if n.own && p.key == keyReadWrite {
			l.fail(ownError(p))
			continue
		}
		l.access = append(l.access, access{placed: placed{place: p, real: real}, readOnly: p.key == keyReadOnly})
	}
	_, err := sortAccess(l.access)
	l.fail(err)
}

func (l *looker) findCellMounts() {
	for _, p := range cellDirectories(l.v.c) {
		if p.key == keyPrivateDevices && l.lacksDev() {
			continue
		}
		n, real, there, err := l.v.find(p)
		if l.fail(err) || !there {
			continue
		}
		n.close()
		switch {
		case p.key != keyPrivatePIDs:
			l.mount(real, node{fd: -1, kind: unix.S_IFDIR, by: &cover{key: p.key, path: real}})
		case l.v.c.ProtectKernel:
			null, _, _, err := l.v.find(newPlace(keyProtectKernel, "/dev/null"))
			if !l.fail(noNull(err)) {
				null.close()
			}
		}
	}
}

func (l *looker) checkPlaced() {
	for _, p := range l.placed {
		l.fail(checkCovered(l.v.covers, p.place, p.real))
	}
}

// Check returns what is wrong with a Config as far as NewView can tell.
func Check(c Config) []error {
	v, errs := NewView(c)
	if v != nil {
		v.Close()
	}
	return errs
}
