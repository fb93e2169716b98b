package main

import (
	"cmp"
	"os"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/screen"
	"github.com/keepscope/keepscope/exporter/story"
)

// screen shows the live view until the pipeline is done.
func (s *session) screen(in, out *os.File, done <-chan error) error {
	m := screen.New(screenSource{s, done}, strings.Join(s.interfaces(), ","), s.start)
	env := os.Environ()
	if !colorAllowed() {
		env = append(env, "NO_COLOR=1") // for bubbletea, other values than true ones allow colours
	}
	// Signals are the program's: they end the capture, and that the screen.
	p := tea.NewProgram(m, tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(env), tea.WithoutSignalHandler())
	_, err := p.Run()
	ended, why := m.Ended()
	switch {
	case ended:
		return why
	case err != nil:
		s.stop()
		return cmp.Or(<-done, err)
	}
	os.Exit(exitFailed) // told to quit twice
	return nil
}

// A screenSource is a session as the screen asks it.
type screenSource struct {
	*session
	done <-chan error
}

// Report implements screen.Source.
func (s screenSource) Report() *report.Report { return s.snapshot().Report }

// Wait implements screen.Source.
func (s screenSource) Wait() error { return <-s.done }

// Stop implements screen.Source.
func (s screenSource) Stop() { s.stop() }

// Connections implements screen.Source.
func (s screenSource) Connections(server *report.Server) []story.Entry {
	return s.pipeline.stories.List(story.Query{Of: func(who naming.Server) bool { return slices.Contains(server.Members, who) }})
}

// Story implements screen.Source.
func (s screenSource) Story(id story.ID) *story.Story {
	return s.pipeline.stories.Connection(uint64(id))
}

// interfaces are the names of what is captured on.
func (s *session) interfaces() []string {
	if s.live == nil {
		return nil
	}
	return s.live.Interfaces()
}
