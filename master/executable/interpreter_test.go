package executable

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// What Check says of a script is what the kernel does with it.
func TestCheckScript(t *testing.T) {
	nested := write(t, []byte("#!/nonexistent/inner\n"))
	for content, want := range map[string]string{
		"#!/bin/sh\nexit 0\n":                  "",
		"#! /bin/sh -e\nexit 0\n":              "",
		"#!/bin/sh":                            "",
		"#!/nonexistent/sh\n":                  `its interpreter "/nonexistent/sh": no such file`,
		"#!\t/nonexistent/sh -x\n":             `its interpreter "/nonexistent/sh": no such file`,
		"#!/bin/sh\r\nexit 0\r\n":              `its first line ends in CR LF, as on Windows: its interpreter "/bin/sh\r": no such file`,
		"#!" + nested + "\n":                   `its interpreter "/nonexistent/inner": no such file`,
		"#!/usr/bin/env no-such-program\n":     "", // env is there, and says so itself
		"exit 0\n":                             "",
		"#!\n":                                 "",
		"":                                     "",
		"\x7fELF and then nothing of the kind": "",
	} {
		path := write(t, []byte(content))
		err := Check(path, Open)
		if want == "" != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
		kernel := exec.Command(path).Start()
		if missing := errors.Is(kernel, unix.ENOENT); missing != (err != nil) {
			t.Errorf("%q: %v, and the kernel says %v", content, err, kernel)
		}
	}
	if err := Check(filepath.Join(t.TempDir(), "none"), Open); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A program whose dynamic linker is missing is told from one that is all there.
func TestCheckELF(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sh)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(sh, Open); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(content, []byte("/lib"))
	if i < 0 || !bytes.Contains(content[i:i+64], []byte("ld-")) {
		t.Fatalf("%s has no dynamic linker at its beginning", sh)
	}
	copy(content[i:], "/nix")
	path := write(t, content)
	if err := Check(path, Open); !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), `its interpreter "/nix`) {
		t.Errorf("%v", err)
	}
	if err := exec.Command(path).Start(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the kernel says %v", err)
	}
}

// Whatever the file is, Check ends and says nothing wrong of what can be read.
func FuzzCheck(f *testing.F) {
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if self, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(self[:min(len(self), 4096)])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := Check(write(t, content), Open); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Error(err)
		}
	})
}
