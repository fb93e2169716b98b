package findings

import (
	"fmt"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
)

// Markdown writes findings as a numbered list, the first whole ones with all their
// advice.
func Markdown(list []Finding, whole int) string {
	var b strings.Builder
	for i := range list {
		f := &list[i]
		lead := fmt.Sprintf("%d. ", i+1)
		b.WriteString(lead)
		if i >= whole {
			b.WriteString(prose.Markdown(f.brief()) + "\n")
			continue
		}
		worst := &f.Servers[0]
		if worst.Server != "" {
			b.WriteString(prose.MarkdownCode(worst.Server) + ": ")
		}
		b.WriteString(prose.Markdown(f.Summary) + "\n")
		item := func(text string) {
			if text != "" {
				b.WriteString(strings.Repeat(" ", len(lead)) + "- " + text + "\n")
			}
		}
		item(prose.Markdown(f.others()))
		if f.Severity != OK {
			item(withCode(f.Advice))
		}
		if by := worst.clients(); by != "" {
			item("By " + prose.Markdown(by) + ".")
		}
		if worst.DisplayFilter != "" {
			item("For example " + strings.TrimSpace(prose.MarkdownCode(worst.Example)+" "+prose.MarkdownCode(worst.DisplayFilter)))
		}
	}
	return b.String()
}

// MarkdownExplained writes what Explain says as a list.
func MarkdownExplained(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("- " + withCode(l) + "\n")
	}
	return b.String()
}

// withCode writes advice, in which settings stand between backquotes.
func withCode(advice string) string {
	parts := strings.Split(advice, "`")
	for i := range parts {
		if i%2 == 1 {
			parts[i] = prose.MarkdownCode(parts[i])
		} else {
			parts[i] = prose.Markdown(parts[i])
		}
	}
	return strings.Join(parts, "")
}
