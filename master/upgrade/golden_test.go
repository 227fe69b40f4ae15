package upgrade

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/preforkd/preforkd/master/accept"
	"github.com/preforkd/preforkd/master/admin"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/proxy"
	"github.com/preforkd/preforkd/master/reloading"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
	"github.com/preforkd/preforkd/master/workers"
)

var update = flag.Bool("update", false, "write the file of the newest format in testdata")

// goldens has what the file of each format in testdata holds. What a later format has
// added is zero in the earlier ones.
var goldens = map[int]func() (Header, *State){
	1: goldenOne,
}

func goldenPath(format int) string {
	return filepath.Join("testdata", fmt.Sprintf("format-%d.state", format))
}

func readGolden(t testing.TB, format int) []byte {
	t.Helper()
	data, err := os.ReadFile(goldenPath(format))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// alike does not tell nil from empty, which is one thing to whoever reads a State.
var alike = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// Each format has a file that means the same for ever.
func TestGolden(t *testing.T) {
	t.Parallel()
	newest := Formats()[0]
	if *update {
		h, s := goldens[newest]()
		data, err := Encode(&h, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenPath(newest), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("testdata/format-*.state")
	if err != nil || len(files) != len(Formats()) {
		t.Errorf("the files %v are for the formats %v: %v", files, Formats(), err)
	}
	for _, format := range Formats() {
		if goldens[format] == nil {
			t.Errorf("format %d has no value in goldens", format)
			continue
		}
		data := readGolden(t, format)
		wantHeader, want := goldens[format]()
		h, s, err := Decode(data)
		if err != nil {
			t.Errorf("format %d: %v", format, err)
			continue
		}
		if diff := cmp.Diff(wantHeader, h, alike); diff != "" {
			t.Errorf("header of format %d:\n%s", format, diff)
		}
		if diff := cmp.Diff(want, s, alike); diff != "" {
			t.Errorf("format %d:\n%s", format, diff)
		}
		// Programs of all versions write a format alike.
		again, err := Encode(&wantHeader, want)
		if err != nil {
			t.Errorf("format %d: %v", format, err)
			continue
		}
		if !bytes.Equal(again, data) {
			t.Errorf("format %d is written in another way:\n%s\nwas\n%s", format, again, data)
		}
	}
}

// The newest golden file has everything in it that a State can have.
func TestGoldenIsComplete(t *testing.T) {
	t.Parallel()
	golden := goldens[Formats()[0]]
	if golden == nil {
		t.Fatal("the newest format has no value in goldens")
	}
	h, s := golden()
	filled := map[string]bool{} // by type and field: one that is not zero was there
	noteFields(filled, reflect.ValueOf(h))
	noteFields(filled, reflect.ValueOf(s))
	if len(filled) < 200 {
		t.Fatalf("a State has only %d fields", len(filled))
	}
	for field, has := range filled {
		if !has {
			t.Errorf("%s is zero wherever it occurs", field)
		}
	}
}

// noteFields notes the fields of all structs in v.
func noteFields(filled map[string]bool, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			noteFields(filled, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			noteFields(filled, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				return // it has a text of its own: a time, an address
			}
			name := v.Type().String() + "." + f.Name
			filled[name] = filled[name] || !v.Field(i).IsZero()
			noteFields(filled, v.Field(i))
		}
	}
}

func goldenOne() (Header, *State) {
	h := Header{
		Format: 1, Version: "1.4.0", Generation: 3, To: "1.5.0",
		Started: "/usr/sbin/preforkd", Config: "/etc/preforkd/new.toml", ConfigBefore: "/etc/preforkd/preforkd.toml",
		Descriptors: []int{6, 7, 8, 9, 11}, Old: 11, Trace: 9, Begun: 1_000_000_000, Paused: 1_250_000_000,
	}
	at := time.Date(2026, 3, 14, 15, 9, 26, 535_897_932, time.UTC)
	return h, &State{
		Master: MasterState{
			Started: at, Generation: 5, InForce: 2, Retired: ledger.Totals{Accepted: 10, Refused: 4, Failed: 3, Completed: 7},
			Config: "[master]\nlog-level = 'debug'\n", SocketsPassed: true, Dropped: []string{"1 observations of services"}, Waiter: 21,
		},
		Upgrades: control.Upgrades{
			Count: 2, Failed: 1,
			Last:        &control.Upgrade{From: "1.3.0", To: "1.4.0", At: at.Add(time.Hour), Duration: 0.25},
			LastFailure: &control.UpgradeFailure{At: at.Add(2 * time.Hour), Step: "restore", Reason: "no \"configuration\" 7\u2028", To: "1.4.1"},
		},
		Specs: []service.SpecState{
			{Service: "web", Section: "[service.web]\nlisten = ':80'\n", InForce: true, IDs: []uint32{33, 33, 4_294_967_294}, SocketUID: 33, SocketGID: 33, Found: "/usr/bin/web"},
			{Service: "ssh", Section: "[service.ssh]\nlisten = '/run/ssh'\n", InForce: true, SocketUID: -1, SocketGID: -1},
			{Service: "web", Section: "[service.web]\nlisten = ':8080'\n", Once: true, SocketUID: -1, SocketGID: -1}, // a former one
		},
		Services: []service.State{goldenService(), {Name: "ssh", Spec: 1, Generation: 4}, {Name: "web", Spec: 2, Generation: 2, Draining: true}},
		IDs:      service.IDsState{Prefix: "k3x9", Last: 18_446_744_073_709_551_615},
		Accept: accept.State{
			Waiting: []accept.WaitingState{{
				Conn: listen.ConnState{FD: 30, Peer: "192.0.2.1:4711", Local: "192.0.2.2:80"}, Spec: 0,
				Header: &accept.HeaderState{Reader: proxy.ReaderState{Length: 28, Taken: []byte("\r\n\r\n\x00\r\nQUIT\n"), Seen: 12}, Deadline: 3_000_000_000, Evicted: true},
			}, {Conn: listen.ConnState{FD: 31}, Spec: 1}},
			Closed:     []string{"ssh"},
			Watches:    []accept.WatchState{{Service: "web", TurnedAway: true, Found: true, LastFull: 900}},
			Shortages:  []accept.ShortageState{{Socket: 4242, Pause: 100 * time.Millisecond, Until: 1_100_000_000}},
			Suppressed: true,
		},
		Dispatch: dispatch.State{Pools: []workers.PoolState{
			{Spec: 1, Target: 4, LastAssigned: 800, LastMiss: 700, LastPause: time.Second, BackoffUntil: 2_000_000_000},
		}},
		Workers:  goldenWorkers(),
		Boxes:    goldenBoxes(),
		Binaries: []process.BinaryState{{Path: "/usr/lib/preforkd/preforkd-worker", File: 12}},
		Stderr: stderr.OutputsState{
			Inherit: &stderr.RelayState{End: 13, File: 14, Writers: []stderr.WriterState{{
				Leader: 1001, Line: stderr.LinesState{Line: []byte("half a l\xff"), Cut: true},
				Tail: []stderr.TailLineState{{Text: []byte("it went wrong"), At: 600}}, Last: 650,
			}}},
			Discard: &stderr.RelayState{End: 15, File: 16},
		},
		Sockets: goldenSockets(),
		Admin: admin.State{
			Control: &control.ServerState{Listener: listen.ListenerState{FD: 17, Path: []byte("/run/preforkd.sock"), FileDevice: 25, FileInode: 77, Directory: carry.None}},
			File:    control.File{Mode: 0o660, UID: 3, GID: 4}, ControlError: "address in use", Metrics: 18, MetricsAddress: "127.0.0.1:9100",
		},
		Reloads: reloading.State{Failure: "preforkd.toml:3:1: unknown key"},
		Log: logging.State{
			Level: "debug", Format: logging.Format("json"),
			Events: logging.QueueState{
				Partial: []byte(`"msg":"accepted"}` + "\n"), Refused: 1, Pending: []byte(`{"msg":"closed"}` + "\n"),
				Dropped: 2, Lost: 3, LostAt: 1_700_000_000_000_000_000,
			},
			Raw: &logging.QueueState{Pending: []byte("\x00\xff")},
		},
	}
}

// goldenService has met everything.
func goldenService() service.State {
	latency := ledger.LatencyState{Micros: []int64{120, 95}, Seconds: ledger.HistogramState{Buckets: []uint64{0, 1, 2}, Count: 2, Sum: 0.000215}}
	return service.State{
		Name: "web", Spec: 0, Generation: 5, Draining: true,
		Gate: admit.GateState{
			Start: 1, Held: 3, Bucket: -5_000_000, Refused: map[string]uint64{"max-connections": 4, "rate": 2},
			LostPenalties: 9, Sources: []byte{1, 192, 0, 2, 1, 255},
		},
		Ledger: ledger.State{
			Accepted: 100, Shortage: 2, Failed: map[string]uint64{"program-missing": 1}, Completed: 93, Spawns: latency, Handovers: latency,
			Usage: ledger.UsageState{
				Exits:     []ledger.ExitState{{Count: 90}, {Code: 1, Count: 2}, {Signal: 9, Count: 1}},
				Durations: latency.Seconds, MaxRSS: latency.Seconds, In: 1 << 40, Out: 1 << 41, UserTime: 12, SysTime: 13,
				Limits: map[string]uint64{"memory": 1}, Leftovers: 5,
			},
			Trouble: &ledger.TroubleState{At: 1_700_000_000_000_000_001, Cause: "program-missing", Exec: true},
		},
		Refusals:       admit.RefusalsState{Start: 2, Reasons: []admit.ReasonRefusal{{Reason: "rate", Bucket: 7, Suppressed: 8, First: 9}}},
		Congestion:     admit.CongestionState{Since: 3, Over: time.Millisecond, Told: 4, Telling: true, Suppressed: 5},
		IdleUnknown:    &service.IdleUnknownState{Reason: "sock_diag: not permitted", Logged: true},
		MissingTold:    []string{"box.network"},
		UnconfinedTold: true,
	}
}

// goldenConnection is one with everything that a connection can have. What it has depends
// on its kind, and so no real one has all of it.
func goldenConnection(id string, fd carry.FD) *service.ConnectionState {
	return &service.ConnectionState{
		ID: id, Spec: 2, Slot: &admit.SlotState{Addr: "2001:db8::1", UID: 1000, GID: 100},
		Conn: listen.ConnState{
			FD: fd, Peer: "[2001:db8::1]:4711", Local: "[2001:db8::2]:80", Socket: &listen.EndsState{Peer: "192.0.2.9:5000", Local: "192.0.2.2:80"},
			Credentials: &listen.Credentials{PID: 500, UID: 1000, GID: 100},
			PeerPath:    []byte("\x00abstract"), LocalPath: []byte("/run/ssh"), Via: []byte("192.0.2.9:5000"),
		},
		Accepted: 500, Live: 3, Rule: 2, AcceptLogged: true,
	}
}

// goldenWorkers has workers in all states, and in all stages of their ends.
func goldenWorkers() *workers.SetState {
	worker := func(pid int, state string) workers.WorkerState {
		return workers.WorkerState{
			PID: pid, Spec: 0, Version: "1.4.0", Created: 100, State: state, Since: 200, Control: carry.FD(pid - 960),
			Command: workers.CommandState{Path: "/usr/lib/preforkd/preforkd-worker", Control: true},
		}
	}
	serving := worker(1004, "serving")
	serving.Watched = true
	serving.Command = workers.CommandState{Path: "/usr/bin/web", Program: "web", Handler: true, Control: true, Boxed: true}
	serving.Cell = goldenCell()
	serving.Stderr = &workers.StderrState{FD: 60, Connection: "k3x9-7", Line: stderr.LinesState{Line: []byte("half"), Cut: true}, Tail: []stderr.TailLineState{{Text: []byte("a line"), At: 300}}}
	serving.Connection = goldenConnection("k3x9-7", 61)
	serving.Served, serving.Socket, serving.HoldsCopy = 1, 9000, true
	serving.NextIdleCheck, serving.ClientGoneAt, serving.HungUpAt, serving.TermSentAt = 1, 2, 3, 4
	serving.EndedForHangUp, serving.Limit, serving.CPUBefore, serving.StoppedBy = true, "idle-timeout", time.Second, 19
	assigned := worker(1003, "assigned")
	assigned.Connection = goldenConnection("k3x9-8", 62)
	broken := worker(1006, "broken")
	broken.Spec = 2 // a former one
	broken.Violation, broken.BoxError, broken.Killed = "two reports", "mount: not permitted", true
	broken.Failure = &workers.FailureState{Step: 3, Errno: 13}
	broken.Leftovers = []int{1100, 1101}
	broken.Report = &workers.ReportState{BytesIn: 1, BytesOut: 2, Reason: []byte("bye\xff"), Values: []workers.ReportValueState{{Key: "user", Value: []byte("\x80")}}}
	broken.Remains = &workers.RemainsState{
		Leftovers: 2, Denied: []string{"mount"}, Killed: true,
		Usage: &workers.UsageState{OOMKills: 1, TasksRefused: 2, CPUThrottled: 3, CPUTime: 4, MemoryPeak: 5, TasksPeak: 6},
	}
	exit := workers.ExitState{PID: 1007, Status: 256, UserTime: 5, SysTime: 6, MaxRSS: 4096}
	return &workers.SetState{
		Workers: []workers.WorkerState{worker(1001, "starting"), worker(1002, "idle"), assigned, serving, worker(1005, "retiring"), broken},
		Leaving: []workers.LeavingState{{
			Worker: worker(1007, "serving"), Exit: exit, Connection: "k3x9-6", TermAt: 5, Killed: true, Seen: []int{1200},
			Told: true, GroupHad: true, GroupGone: true,
		}},
		InCells:    []workers.CellLeavingState{{Worker: worker(1008, "serving"), Exit: exit, Empty: true, Remains: broken.Remains}},
		EarlyExits: []workers.ExitState{{PID: 1009, Status: 9}},
		Sessions:   []byte{0, 1, 128},
		Orphans:    []workers.OrphanState{{PID: 1300, Session: 1299, Connection: "k3x9-5", Hidden: true, Since: 6}},
		Unclear:    []workers.UnclearState{{PID: 1301, Since: 7}},
		Started:    1009,
		Linger:     linger.State{Lingering: []linger.LingeringState{{FD: 63, Kind: "served", Until: 8, Left: 65536}}},
	}
}

// goldenCell is a cell as its worker has it, which is a text to package workers.
func goldenCell() json.RawMessage {
	text, err := json.Marshal(goldenBoxes().Cells[0])
	if err != nil {
		panic(err)
	}
	return text
}

func goldenBoxes() *box.State {
	return &box.State{
		Boxes: []box.BoxState{{Service: "web", PrivatePIDs: true, Cgroup: true, Siblings: true, Subject: 2}, {Service: "ssh"}},
		Cells: []box.CellState{{
			Box: 0, UID: 600_000, Worker: 1004, Holder: &box.HolderState{PID: 1003, PIDFD: 70, Control: 71, Reaped: true},
			Cgroup: &cgroup.LeafState{
				Service: "web", Name: "7", Controllers: []string{"memory", "pids"}, Peak: 72,
				Start: cgroup.CountersState{OOMKills: 1, MemoryMax: 2, TasksMax: 3, CPUThrottled: 4, CPUMicroseconds: 5, MemoryPeak: 6, TasksPeak: 7},
			},
			Leaving: true, Leftovers: 1,
		}, {Box: 1, UID: 600_001, Worker: 1006}},
		Probes:  []int{1400},
		Reports: &box.ReportsState{In: 73, Out: 74, Read: []box.ReportState{{PID: 1006, Action: 2, Number: 165, Errno: 1}}},
		Alarm:   &box.AlarmState{In: 90, Held: 91},
		Observer: &observe.State{
			Next: 3, Subjects: []observe.SubjectState{{Number: 2, Kill: true, Judge: []byte{6, 0, 0, 255}}},
			Processes: []observe.ProcessState{{PID: 1004, Denied: []string{"mount"}, Killed: true, Over: true}},
			Listeners: []observe.ListenerState{{FD: 75, Subject: 0, Process: 0}, {FD: 76, Subject: 1, Process: 1}},
			Condemned: []observe.CondemnedState{{PIDFD: 77, Until: 9}},
		},
		Cgroups: &cgroup.State{
			Path: "/sys/fs/cgroup/preforkd", Own: "master", Lock: 78, Controllers: []string{"memory"},
			Services: []cgroup.ServiceState{{Name: "web", Directory: 79, Controllers: []string{"pids"}}},
		},
	}
}

// goldenSockets has listeners that were bound, passed and stored, and one that another has
// replaced.
func goldenSockets() endpoints.State {
	bound := endpoints.ListenerState{
		Service:  "web",
		Socket:   listen.ListenerState{FD: 6, Local: netip.MustParseAddrPort("[fe80::1%eth0]:80"), V6Only: true, Interface: 2, Device: []byte("eth0"), Directory: carry.None},
		Endpoint: endpoints.EndpointState{Host: "web.example", IP: netip.MustParseAddr("fe80::1%eth0"), Port: 80},
		Options: listen.Options{
			NoDelay: true, Keepalive: time.Minute, UserTimeout: 2 * time.Minute, DeferAccept: time.Second, Backlog: 511, ReusePort: true,
			FreeBind: true, BindToDevice: "eth0", V6Only: true, Mode: 0o660, UID: 33, GID: 34,
		},
		Stored: true, Lost: true, Heir: 1, Replaced: 10,
	}
	passed := endpoints.ListenerState{
		Service:  "ssh",
		Socket:   listen.ListenerState{FD: 7, Path: []byte("/run/ssh"), FileDevice: 25, FileInode: 99, Directory: 8, Adopted: true},
		Endpoint: endpoints.EndpointState{Path: []byte("/run/ssh"), Service: "ssh", Nth: 1, Passed: true},
		Origin:   "passed", Heir: -1,
	}
	stored := passed
	stored.Socket.FD, stored.Socket.Directory, stored.Origin, stored.Stored = 9, carry.None, "stored", true
	return endpoints.State{
		Order: []string{"web", "ssh"}, Listeners: []endpoints.ListenerState{passed, stored}, Replaced: []endpoints.ListenerState{bound},
		Passed:         []endpoints.SocketState{{Service: "ssh", Name: "ssh.socket", FD: 80}},
		Stored:         []endpoints.SocketState{{Service: "web", Name: "web-1", FD: 81}},
		BarrierPending: true, ShelveFailed: true,
	}
}
