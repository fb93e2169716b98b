package prose

import "strings"

// markup are the characters that mean something inside a line of Markdown
// (https://spec.commonmark.org, and GitHub's https://github.github.com/gfm).
var markup = func() *strings.Replacer {
	var pairs []string
	for _, c := range "\\`*_{}[]<>#~&!" {
		pairs = append(pairs, string(c), `\`+string(c))
	}
	return strings.NewReplacer(pairs...)
}()

// Markdown writes a line of text so that Markdown shows it as it is.
func Markdown(text string) string { return markup.Replace(text) }

// MarkdownCode writes a name as code, which Markdown neither marks up nor links.
func MarkdownCode(name string) string {
	name = strings.NewReplacer("`", "'", "\n", " ").Replace(name)
	if name == "" {
		return ""
	}
	return "`" + name + "`"
}

// MarkdownTable writes a table of cells that are Markdown, the first row its head; right
// says of each column whether it is of figures.
func MarkdownTable(right []bool, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0])
	marks := make([]string, len(right))
	for i, r := range right {
		marks[i] = ":--"
		if r {
			marks[i] = "--:"
		}
	}
	line(marks)
	for _, r := range rows[1:] {
		line(r)
	}
	return b.String()
}
