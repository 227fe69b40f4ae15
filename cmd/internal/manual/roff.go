package manual

import (
	"fmt"
	"strings"
)

// A page is a manual page in man(7) macros.
type page struct{ strings.Builder }

// title begins the page.
func (p *page) title(name string, section int, o Options) {
	fmt.Fprintf(p, ".TH %s %d %s %s %s\n", quote(strings.ToUpper(name)), section, quote(o.Date), quote("preforkd "+o.Version), quote("preforkd manual"))
	// Words are neither parted nor spread: most are names.
	p.WriteString(".nh\n.ad l\n")
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", escape(title)) }

func (p *page) subsection(title string) { fmt.Fprintf(p, ".SS %s\n", escape(title)) }

// prose writes text of paragraphs with blank lines between them. One in which a
// line begins with a blank is shown as it is written.
func (p *page) prose(text string) {
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		lines := strings.Split(strings.TrimRight(paragraph, "\n"), "\n")
		asWritten := false
		for _, line := range lines {
			asWritten = asWritten || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		}
		if asWritten {
			p.example(lines)
			continue
		}
		p.WriteString(".PP\n")
		for _, line := range lines {
			p.line(line)
		}
	}
}

// example writes lines as they are, less the indentation that all have.
func (p *page) example(lines []string) {
	indent := -1
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\t", "    ")
		if strings.TrimSpace(line) != "" {
			own := len(lines[i]) - len(strings.TrimLeft(lines[i], " "))
			if indent < 0 || own < indent {
				indent = own
			}
		}
	}
	p.WriteString(".PP\n.RS 4\n.nf\n")
	for _, line := range lines {
		p.line(line[min(max(indent, 0), len(line)):])
	}
	p.WriteString(".fi\n.RE\n")
}

// item writes a term, which holds roff already, and what is said of it.
func (p *page) item(term, text string) {
	fmt.Fprintf(p, ".TP\n%s\n", term)
	p.line(text)
}

// line writes a line of text. Lines that begin with a blank, or are empty, would
// mean something to roff.
func (p *page) line(text string) {
	text = escape(text)
	switch {
	case text == "":
		text = `\&`
	case strings.ContainsAny(text[:1], " ."):
		text = `\&` + text
	}
	p.WriteString(text + "\n")
}

// Fonts.
func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

// roff are the characters that roff would print as others, or obey
// (groff_char(7)).
var roff = strings.NewReplacer(
	`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`,
)

func escape(s string) string { return roff.Replace(s) }

// quote makes one argument of a macro.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
