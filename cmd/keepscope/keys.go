package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/keyfile"
)

// keys are the secrets by which TLS is read.
type keys struct{ store *keylog.Store }

func newKeys() *keys { return &keys{store: keylog.New(0)} }

// sink returns a parser for a key log of its own.
func (k *keys) sink() keyfile.Sink { return keylog.NewParser(k.store) }

// limits are the caps of the store; nil where there is none.
func (k *keys) limits() fact.Limits {
	if k == nil {
		return nil
	}
	s := k.store.Stats()
	return fact.Limits{
		{Name: "tls_keys", Count: s.Evicted, Means: "a key log's oldest secrets were forgotten: the connection that they are for is estimated"},
		{Name: "tls_sessions", Count: s.Forgotten, Means: "a TLS 1.2 session was forgotten: one that resumes it without a line of its own is estimated"},
	}
}

// readKeys reads the key logs that the flags name and those in the capture files,
// before the packets: nothing is kept where there is none.
func (a *analysis) readKeys(paths []string, files []*capfile.File, log *slog.Logger) error {
	k := newKeys()
	warnings, err := keyfile.ReadAll(a.Keylog, k.sink)
	for _, w := range warnings {
		log.Warn(w.String())
	}
	if err != nil {
		return err
	}
	stream := false
	for i, path := range paths {
		if info, err := os.Stat(path); path != "-" && err == nil && info.Mode().IsRegular() {
			if err := capfile.ReadKeyLog(path, k.sink()); err != nil {
				return err
			}
		} else if files[i].Secrets() { // it can be read once only
			files[i].KeyLog(k.sink())
			stream = true
		}
	}
	if !stream {
		k.store.Seal()
	}
	if len(a.Keylog) > 0 || stream || k.store.Stats().Randoms > 0 {
		a.use(k)
	}
	return nil
}

// followKeys opens the key logs that the flags name, while the rights to do so are
// there, and returns what follows them as they grow.
func (a *analysis) followKeys(log *slog.Logger) (follow func(context.Context)) {
	if len(a.Keylog) == 0 {
		return func(context.Context) {}
	}
	if a.keys == nil {
		a.use(newKeys())
	}
	f := keyfile.Open(a.Keylog, a.keys.sink)
	warn := func(w keyfile.Warning) { log.Warn(w.String()) }
	warnings, _ := f.Poll()
	for _, w := range warnings {
		warn(w)
	}
	return func(ctx context.Context) {
		defer f.Close()
		f.Run(ctx, warn)
	}
}

// keyFolders lists the folders of the key logs, which are opened again when they are
// replaced, and in which others may appear.
func (a *analysis) keyFolders() (folders []string) {
	for _, path := range a.Keylog {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		folders = append(folders, path)
	}
	return folders
}

// use has TLS read by k. No core dump may hold its secrets from then on.
func (a *analysis) use(k *keys) {
	a.keys = k
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // where that fails nothing else can be done
}

// keylogLines counts the lines of the key logs by what became of them, for the
// metrics; nil where there are none.
func (a *analysis) keylogLines() map[string]uint64 {
	if a.keys == nil {
		return nil
	}
	n := a.keys.store.Stats().Lines
	return map[string]uint64{"taken": n.Taken, "double": n.Double, "other": n.Other, "broken": n.Broken}
}
