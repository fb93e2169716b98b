package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is 'keepscope completion'.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}."`
}

// Run prints a script for the shell.
func (c completionCmd) Run(ctx context.Context, con console) error {
	app, err := commandLine(ctx, con)
	if err != nil {
		return err
	}
	var b strings.Builder
	switch c.Shell {
	case "bash":
		writeBash(&b, app)
	case "zsh":
		writeZsh(&b, app)
	case "fish":
		writeFish(&b, app)
	}
	_, err = io.WriteString(con.out, b.String())
	return err
}

// flagsOf lists the flags that a command takes, as words of a command line.
func flagsOf(n *kong.Node) (list []*kong.Flag) {
	for _, level := range n.AllFlags(true) {
		list = append(list, level...)
	}
	return list
}

// values lists the words that a flag takes, where it takes few.
func values(f *kong.Flag) []string {
	if f.Enum == "" {
		return nil
	}
	return f.EnumSlice()
}

// spellings lists how a flag is written.
func spellings(f *kong.Flag) []string {
	list := []string{"--" + f.Name}
	if f.Short != 0 {
		list = append(list, "-"+string(f.Short))
	}
	if f.Tag.Negatable != "" {
		list = append(list, "--no-"+f.Name)
	}
	return list
}

// firstSentence is what there is room for beside a word.
func firstSentence(help string) string {
	text, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(text, ".")
}

func writeBash(b *strings.Builder, app *kong.Application) {
	b.WriteString("# bash completion for keepscope: source <(keepscope completion bash)\n_keepscope() {\n" +
		"\tlocal cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= words= flags= word\n" +
		"\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n\t\tcase \"$command $word\" in\n")
	writeBashCommands(b, app.Node, "")
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$command\" in\n")
	nodes := []*kong.Node{app.Node}
	for len(nodes) > 0 {
		n := nodes[0]
		nodes = append(nodes[1:], n.Children...)
		words := commandsOf(n)
		switch n.Name {
		case "completion":
			words = []string{"bash", "zsh", "fish"}
		case "help":
			words = commandsOf(app.Node)
		}
		var flags []string
		for _, f := range flagsOf(n) {
			flags = append(flags, spellings(f)...)
		}
		fmt.Fprintf(b, "\t'%s') words='%s' flags='%s' ;;\n", pathOf(n), strings.Join(words, " "), strings.Join(flags, " "))
	}
	b.WriteString("\tesac\n\tif [[ $cur == -* ]]; then words=$flags; fi\n\tcase \"$previous\" in\n")
	for _, f := range allFlags(app) {
		if list := values(f); list != nil {
			fmt.Fprintf(b, "\t%s) words='%s' ;;\n", strings.Join(spellings(f), "|"), strings.Join(list, " "))
		}
	}
	b.WriteString("\tesac\n\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\ncomplete -o default -F _keepscope keepscope\n")
}

// writeBashCommands writes how a word leads from one command to the next.
func writeBashCommands(b *strings.Builder, n *kong.Node, path string) {
	for _, c := range n.Children {
		if c.Hidden {
			continue
		}
		full := strings.TrimSpace(path + " " + c.Name)
		fmt.Fprintf(b, "\t\t'%s %s') command='%s' ;;\n", path, c.Name, full)
		writeBashCommands(b, c, full)
	}
}

// commandsOf names the commands below one.
func commandsOf(n *kong.Node) (names []string) {
	for _, c := range n.Children {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// pathOf names a command as it stands behind the program's name.
func pathOf(n *kong.Node) string {
	if n.Parent == nil {
		return ""
	}
	return strings.TrimSpace(pathOf(n.Parent) + " " + n.Name)
}

// allFlags lists each flag of any command once.
func allFlags(app *kong.Application) (list []*kong.Flag) {
	seen := map[string]bool{}
	for _, n := range app.Leaves(true) {
		for _, f := range flagsOf(n) {
			if !seen[f.Name] {
				seen[f.Name] = true
				list = append(list, f)
			}
		}
	}
	return list
}

func writeZsh(b *strings.Builder, app *kong.Application) {
	quote := strings.NewReplacer("'", "'\\''", "[", "(", "]", ")", ":", "\\:").Replace
	b.WriteString("#compdef keepscope\n# zsh completion for keepscope: keepscope completion zsh > \"${fpath[1]}/_keepscope\"\n_keepscope() {\n\tif (( CURRENT == 2 )); then\n\t\tlocal -a commands=(\n")
	for _, n := range app.Children {
		if !n.Hidden {
			fmt.Fprintf(b, "\t\t\t'%s:%s'\n", n.Name, quote(firstSentence(n.Help)))
		}
	}
	b.WriteString("\t\t)\n\t\t_describe command commands\n\t\treturn\n\tfi\n\tcase $words[2] in\n")
	for _, n := range app.Children {
		if n.Hidden {
			continue
		}
		fmt.Fprintf(b, "\t%s)\n\t\t_arguments", n.Name)
		for _, f := range flagsOf(n) {
			for _, s := range spellings(f) {
				what := ""
				if list := values(f); list != nil {
					what = "=:value:(" + strings.Join(list, " ") + ")"
				} else if !f.IsBool() {
					what = "=:value:_files"
				}
				if what != "" && !strings.HasPrefix(s, "--") {
					what = "+" + strings.TrimPrefix(what, "=")
				}
				name, rest := s, what
				if strings.HasPrefix(what, "=") || strings.HasPrefix(what, "+") {
					name, rest = s+what[:1], what[1:]
				}
				fmt.Fprintf(b, " \\\n\t\t\t'*%s[%s]%s'", name, quote(firstSentence(f.Help)), rest)
			}
		}
		switch names := commandsOf(n); {
		case n.Name == "completion":
			b.WriteString(" \\\n\t\t\t':shell:(bash zsh fish)'")
		case n.Name == "help":
			fmt.Fprintf(b, " \\\n\t\t\t':command:(%s)'", strings.Join(commandsOf(app.Node), " "))
		case names != nil:
			fmt.Fprintf(b, " \\\n\t\t\t'2:command:(%s)' '*:file:_files'", strings.Join(names, " "))
		default:
			b.WriteString(" \\\n\t\t\t'*:file:_files'")
		}
		b.WriteString("\n\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n_keepscope \"$@\"\n")
}

func writeFish(b *strings.Builder, app *kong.Application) {
	quote := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
	}
	b.WriteString("# fish completion for keepscope: keepscope completion fish > ~/.config/fish/completions/keepscope.fish\n")
	for _, n := range app.Children {
		if n.Hidden {
			continue
		}
		fmt.Fprintf(b, "complete -c keepscope -n __fish_use_subcommand -f -a %s -d %s\n", n.Name, quote(firstSentence(n.Help)))
		below := "-n " + quote("__fish_seen_subcommand_from "+n.Name)
		for _, c := range commandsOf(n) {
			fmt.Fprintf(b, "complete -c keepscope %s -a %s\n", below, c)
		}
		if n.Name == "completion" {
			fmt.Fprintf(b, "complete -c keepscope %s -f -a %s\n", below, quote("bash zsh fish"))
		}
		for _, f := range flagsOf(n) {
			fmt.Fprintf(b, "complete -c keepscope %s -l %s", below, f.Name)
			if f.Short != 0 {
				fmt.Fprintf(b, " -s %c", f.Short)
			}
			if list := values(f); list != nil {
				fmt.Fprintf(b, " -x -a %s", quote(strings.Join(list, " ")))
			} else if !f.IsBool() {
				b.WriteString(" -r")
			}
			fmt.Fprintf(b, " -d %s\n", quote(firstSentence(f.Help)))
			if f.Tag.Negatable != "" {
				fmt.Fprintf(b, "complete -c keepscope %s -l no-%s\n", below, f.Name)
			}
		}
	}
}
