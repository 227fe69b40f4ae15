package sockdiag

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoConnection says that there is no such connection in the network namespace
// of this process, or that it has ended.
var ErrNoConnection = errors.New("no such TCP connection")

// Idle returns how long no byte has been sent or received on a TCP connection, as
// the kernel counts (TCP_INFO, tcp(7)). It needs no right to the process that has
// the connection.
//
// The kernel finds one connection by its ends at once. It does not find one so
// that is bound to a device, for which Idle goes through all with that local port.
func Idle(pair Pair) (time.Duration, error) {
	d, err := open()
	if err != nil {
		return 0, err
	}
	defer d.close()
	idle := time.Duration(-1)
	look := func(socket []byte) error {
		m, err := readInet(socket)
		if err == nil && m.pair() == pair {
			idle = m.idle()
		}
		return err
	}
	if err := d.get(exactRequest(pair), look); err != nil && err != ErrNoConnection {
		return 0, err
	}
	if idle < 0 {
		filter, err := portFilter([]uint16{pair.Local.Port()})
		if err != nil {
			return 0, err
		}
		// Of a v4-mapped connection the family is IPv6.
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := d.dump(inetRequest(family, countedStates, inetInfo, filter), look); err != nil {
				return 0, err
			}
		}
	}
	if idle < 0 {
		return 0, ErrNoConnection
	}
	return idle, nil
}

// exactRequest returns a request for the one connection with two ends.
func exactRequest(pair Pair) []byte {
	family, local, peer := uint8(unix.AF_INET6), pair.Local.Addr(), pair.Peer.Addr()
	if local.Is4() {
		family = unix.AF_INET
	}
	request := inetRequest(family, countedStates, inetInfo, nil)
	id := request[8:] // struct inet_diag_sockid, see inetSocket
	id[0], id[1] = byte(pair.Local.Port()>>8), byte(pair.Local.Port())
	id[2], id[3] = byte(pair.Peer.Port()>>8), byte(pair.Peer.Port())
	copy(id[4:20], local.AsSlice())
	copy(id[20:36], peer.AsSlice())
	if zone, err := strconv.ParseUint(peer.Zone(), 10, 32); err == nil {
		host.PutUint32(id[36:], uint32(zone))
	}
	for i := 40; i < 48; i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return request
}

// Offsets of the times in struct tcp_info of linux/tcp.h, in milliseconds.
const (
	infoLastSent     = 44 // tcpi_last_data_sent
	infoLastReceived = 52 // tcpi_last_data_recv
)

// idle returns how long no byte has been sent or received, -1 if the kernel does
// not say.
func (m inetSocket) idle() time.Duration {
	for kind, value := range attributes(m.attributes) {
		if kind == inetInfo && len(value) >= infoLastReceived+4 {
			return time.Duration(min(host.Uint32(value[infoLastSent:]), host.Uint32(value[infoLastReceived:]))) * time.Millisecond
		}
	}
	return -1
}
