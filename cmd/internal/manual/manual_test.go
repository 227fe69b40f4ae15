package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/config"
)

// example is a program whose texts hold all that roff and Markdown would take
// for something else.
func example() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "A tool", Long: "A tool.", RunE: func(*cobra.Command, []string) error { return nil }}
	act := &cobra.Command{
		Use: "act [v6]:port <FILE", Short: "Act on something",
		Long: `Act on [v6]:port, *all* of <it>, with \fBbackslashes\fR and 'quotes'.
.SH is no section here, nor is
'nothing' at the beginning of a line.

  a    table -- of ~two^ columns
.b   whose second line has a dot

The end.`,
		Example: "  tool act x\n  tool act --flag y",
		RunE:    func(*cobra.Command, []string) error { return nil },
	}
	act.Flags().StringP("flag", "f", "default-value", "use `VALUE` for it")
	act.Flags().Bool("yes", false, "say yes")
	act.Flags().String("secret", "", "hidden")
	act.Flags().MarkHidden("secret")
	root.AddCommand(act, &cobra.Command{Use: "inner", Hidden: true, RunE: act.RunE})
	return root
}

// rendered is what people see of a page, which must be one without warnings.
func rendered(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(systest.Need(t, "man"), "--warnings", "-E", "UTF-8", "-l", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80", "MAN_KEEP_FORMATTING=", "PAGER=cat", "MANPAGER=cat")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%s: %v\n%s", path, err, stderr.String())
	}
	return string(out)
}

func TestPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	options := Options{Version: "1.0", Date: "2026-11-21", Sections: map[string][]Section{"tool-act": {{
		Title: "Exit status", Text: "0 or not.", Items: []Item{{"a term", "what it means"}},
		Sections: []Section{{Title: "More", Text: "Of it."}},
	}}}}
	if err := Write(dir, example(), options); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		rendered(t, filepath.Join(dir, f.Name()))
	}
	want := []string{"preforkd.toml.5", "tool-act.1", "tool-completion.1", "tool.1"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	const page = `TOOL-ACT(1)                     preforkd manual                    TOOL-ACT(1)

NAME
       tool-act - act on something

SYNOPSIS
       tool act [v6]:port <FILE [flags]

DESCRIPTION
       Act on [v6]:port, *all* of <it>, with \fBbackslashes\fR and 'quotes'.
       .SH is no section here, nor is 'nothing' at the beginning of a line.

             a    table -- of ~two^ columns
           .b   whose second line has a dot

       The end.

OPTIONS
       -f, --flag VALUE
              Use VALUE for it (default default-value).

       --yes  Say yes.

EXAMPLES
           tool act x
           tool act --flag y

EXIT STATUS
       0 or not.

       a term What it means.

   More
       Of it.

SEE ALSO
       tool(1)

preforkd 1.0                      2026-11-21                       TOOL-ACT(1)
`
	if diff := cmp.Diff(page, rendered(t, filepath.Join(dir, "tool-act.1"))); diff != "" {
		t.Errorf("tool-act.1 (-want +got):\n%s", diff)
	}
}

// Whoever builds the same twice gets the same.
func TestPagesAreReproducible(t *testing.T) {
	first, second := commandPages(example(), Options{}), commandPages(example(), Options{})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("differ:\n%s", diff)
	}
}

func TestConfigurationHasEveryKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(path, []byte(configuration(Options{})), 0o600); err != nil {
		t.Fatal(err)
	}
	text := rendered(t, path)
	for _, table := range config.Tables() {
		_, section, ok := strings.Cut(text, "\n"+table.Name+"\n")
		if !ok {
			t.Errorf("%s is missing", table.Name)
		}
		for _, k := range table.Keys {
			if !strings.Contains(section, "\n       "+k.Name+" ("+k.Kind) {
				t.Errorf("%s: %s is missing", table.Name, k.Name)
			}
		}
	}
	for _, flag := range config.Flags() {
		// Flags of a box begin with box-; the table of their keys says it.
		if name := strings.TrimPrefix(flag.Name, "box-"); !strings.Contains(text, "\n       "+name+" (") {
			t.Errorf("%s, a flag, is no key", flag.Name)
		}
	}
}

func TestDate(t *testing.T) {
	for text, want := range map[string]string{"": "", "0": "1970-01-01", "1795219200": "2026-11-21"} {
		got, err := Date(func(string) string { return text })
		if got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := Date(func(string) string { return "yesterday" }); err == nil {
		t.Error("no error")
	}
}
