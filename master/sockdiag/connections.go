package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Pair is the two ends of a TCP connection as the kernel knows them, in the
// form of listen.Conn. A v4-mapped address is v4, and a zone is a number. A
// connection with a PROXY header has other ends in the log.
type Pair struct {
	Local, Peer netip.AddrPort
}

// Bytes is how many bytes have gone over a connection so far. In counts what
// the kernel has received from the peer, read or not. Out counts what the peer
// has acknowledged.
type Bytes struct {
	In, Out uint64
}

// countedStates are the states in which the kernel counts the bytes of a
// connection. Missing are the states before a connection is established.
// Missing is also TIME_WAIT, in which the kernel keeps only the addresses.
const countedStates = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_FIN_WAIT1 | 1<<unix.BPF_TCP_FIN_WAIT2 |
	1<<unix.BPF_TCP_CLOSE_WAIT | 1<<unix.BPF_TCP_LAST_ACK | 1<<unix.BPF_TCP_CLOSING

// Connections returns the bytes of the TCP connections with one of these local
// ports. It takes at most MaxPorts ports. Without ports it returns those of all
// connections in the network namespace.
//
// If the kernel tells of one address family only, Connections returns that
// one's connections and an error for the other family.
func Connections(ports ...uint16) (map[Pair]Bytes, error) {
	d, err := open()
	if err != nil {
		return nil, err
	}
	defer d.close()
	filter, err := portFilter(ports)
	if err != nil {
		return nil, err
	}
	found := map[Pair]Bytes{}
	var missing []error
	for family, name := range map[uint8]string{unix.AF_INET: "IPv4", unix.AF_INET6: "IPv6"} {
		err := d.dump(inetRequest(family, countedStates, inetInfo, filter), func(socket []byte) error {
			m, err := readInet(socket)
			if err != nil {
				return err
			}
			if bytes, ok := m.bytes(); ok {
				found[m.pair()] = bytes
			}
			return nil
		})
		if err != nil {
			missing = append(missing, fmt.Errorf("list the TCP connections over %s: %w", name, err))
		}
	}
	return found, errors.Join(missing...)
}

// inetInfo is the attribute INET_DIAG_INFO of linux/inet_diag.h, a struct
// tcp_info.
const inetInfo = 2

// inetRequest returns a struct inet_diag_req_v2, with the filter after it:
//
//	0  u8   family
//	1  u8   protocol
//	2  u8   wanted attributes, one bit for each, from 1
//	3  u8   padding
//	4  u32  states, one bit for each
//	8       struct inet_diag_sockid, 48 bytes; all are zero to list every socket
func inetRequest(family uint8, states uint32, attribute int, filter []byte) []byte {
	const inetFilter = 1 // INET_DIAG_REQ_BYTECODE
	request := make([]byte, 56)
	request[0], request[1] = family, unix.IPPROTO_TCP
	if attribute != 0 {
		request[2] = 1 << (attribute - 1)
	}
	host.PutUint32(request[4:], states)
	if len(filter) > 0 {
		request = host.AppendUint16(request, uint16(unix.SizeofNlAttr+len(filter)))
		request = host.AppendUint16(request, inetFilter)
		request = append(request, filter...)
	}
	return request
}

// An inetSocket holds the fields of a struct inet_diag_msg that this package
// uses:
//
//	 0  u8   family
//	 1  u8   state
//	 2  u16  timer, retransmits
//	 4       struct inet_diag_sockid:
//	         4  be16  local port         8  16 bytes  local address
//	         6  be16  peer's port       24  16 bytes  peer's address
//	        40  u32   interface         44  u64       cookie
//	52  u32  expiry of the timer
//	56  u32  receive queue
//	60  u32  send queue
//	64  u32  user
//	68  u32  inode
//	72       attributes
type inetSocket struct {
	family, state           uint8
	localPort, peerPort     uint16
	local, peer             [16]byte
	zone                    uint32
	receiveQueue, sendQueue uint32
	inode                   uint32
	attributes              []byte
}

func readInet(socket []byte) (inetSocket, error) {
	const size = 72
	if len(socket) < size {
		return inetSocket{}, errShort
	}
	return inetSocket{
		family: socket[0], state: socket[1],
		localPort: binary.BigEndian.Uint16(socket[4:]), peerPort: binary.BigEndian.Uint16(socket[6:]),
		local: [16]byte(socket[8:]), peer: [16]byte(socket[24:]),
		zone:         host.Uint32(socket[40:]),
		receiveQueue: host.Uint32(socket[56:]), sendQueue: host.Uint32(socket[60:]),
		inode:      host.Uint32(socket[68:]),
		attributes: socket[size:],
	}, nil
}

func (m inetSocket) pair() Pair {
	return Pair{
		Local: netip.AddrPortFrom(m.address(m.local), m.localPort),
		Peer:  netip.AddrPortFrom(m.address(m.peer), m.peerPort),
	}
}

func (m inetSocket) address(b [16]byte) netip.Addr {
	if m.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:]))
	}
	ip := netip.AddrFrom16(b).Unmap()
	// A socket may be bound to an interface for other reasons. The interface is
	// a part of these addresses only (ipv6_iface_scope_id in
	// include/net/ipv6.h).
	if m.zone != 0 && ip.Is6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast()) {
		ip = ip.WithZone(fmt.Sprint(m.zone))
	}
	return ip
}

// Offsets of the counters in struct tcp_info of linux/tcp.h, since Linux 4.1,
// and the size that a struct with these counters has at least.
const (
	infoAcked    = 120 // tcpi_bytes_acked
	infoReceived = 128 // tcpi_bytes_received
	infoSize     = 136
)

// bytes returns the byte counts of a connection, if it has them.
func (m inetSocket) bytes() (Bytes, bool) {
	for kind, value := range attributes(m.attributes) {
		if kind != inetInfo || len(value) < infoSize {
			continue
		}
		in, out := host.Uint64(value[infoReceived:]), host.Uint64(value[infoAcked:])
		// The counters come from sequence numbers. A FIN, which ends a
		// direction, takes a sequence number like a byte.
		switch m.state {
		case unix.BPF_TCP_CLOSE_WAIT, unix.BPF_TCP_LAST_ACK, unix.BPF_TCP_CLOSING:
			in -= min(in, 1)
		case unix.BPF_TCP_FIN_WAIT2:
			out -= min(out, 1)
		}
		return Bytes{In: in, Out: out}, true
	}
	return Bytes{}, false
}
