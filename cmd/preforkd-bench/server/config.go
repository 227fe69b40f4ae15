package server

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
)

// xinetd writes the configuration of a single service. It has no name in
// /etc/services, so its type is UNLISTED; the default limit of 50 starts per
// second (cps) is lifted.
func xinetd(s Site) ([]string, error) {
	echo, err := s.EchoPath()
	if err != nil {
		return nil, err
	}
	self, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("configure xinetd: %w", err)
	}
	path := filepath.Join(s.Dir, "xinetd.conf")
	err = os.WriteFile(path, fmt.Appendf(nil, `service bench-echo
{
	type        = UNLISTED
	socket_type = stream
	protocol    = tcp
	wait        = no
	bind        = 127.0.0.1
	port        = %d
	user        = %s
	server      = %s
	instances   = UNLIMITED
	per_source  = UNLIMITED
	cps         = 1000000 1
}
`, s.Port, self.Username, echo), 0o644)
	if err != nil {
		return nil, fmt.Errorf("configure xinetd: %w", err)
	}
	return []string{s.Program, "-dontfork", "-f", path, "-filelog", filepath.Join(s.Dir, "xinetd.log"),
		"-pidfile", filepath.Join(s.Dir, "xinetd.pid")}, nil
}

// modules is where Debian's apache2-bin keeps them.
const modules = "/usr/lib/apache2/modules"

// apache writes a configuration with nothing but mod_echo. The pool is larger
// than the number of clients, so that nobody waits for a process.
func apache(s Site) ([]string, error) {
	if _, err := os.Stat(filepath.Join(modules, "mod_echo.so")); err != nil {
		return nil, fmt.Errorf("configure apache: %w", err)
	}
	identity := ""
	if os.Geteuid() == 0 {
		// It refuses to serve as root.
		identity = "User www-data\nGroup www-data\n"
	}
	path := filepath.Join(s.Dir, "apache.conf")
	err := os.WriteFile(path, fmt.Appendf(nil, `ServerRoot %[1]s
ServerName 127.0.0.1
DefaultRuntimeDir %[1]s
PidFile %[1]s/apache.pid
ErrorLog %[1]s/apache.log
Mutex sem
LoadModule mpm_prefork_module %[2]s/mod_mpm_prefork.so
LoadModule echo_module %[2]s/mod_echo.so
%[3]sListen 127.0.0.1:%[4]d
ListenBacklog %[5]d
ProtocolEcho On
StartServers 64
MinSpareServers 16
MaxSpareServers 128
ServerLimit 256
MaxRequestWorkers 256
MaxConnectionsPerChild 0
`, s.Dir, modules, identity, s.Port, Backlog), 0o644)
	if err != nil {
		return nil, fmt.Errorf("configure apache: %w", err)
	}
	return []string{s.Program, "-f", path, "-DFOREGROUND"}, nil
}
