package screen

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// A seen is a Source of what was captured before.
type seen struct {
	report  *report.Report
	stories story.Stores
	stopped int
}

var errSeen = errors.New("it is over")

func (s *seen) Report() *report.Report { return s.report }
func (s *seen) Connections(server *report.Server) []story.Entry {
	return s.stories.List(story.Query{Of: func(who naming.Server) bool { return slices.Contains(server.Members, who) }})
}
func (s *seen) Story(id story.ID) *story.Story { return s.stories.Connection(uint64(id)) }
func (s *seen) Wait() error                    { return errSeen }
func (s *seen) Stop()                          { s.stopped++ }

// A habit is what the clients of a server do.
type habit struct {
	name             string
	visits, requests int
	head, answer     string // further fields
	closes           sniffertest.Side
	address          string
}

// play writes what clients and servers of these habits sent.
func play(t testing.TB, habits []habit) []sniffer.Frame {
	t.Helper()
	var s sniffertest.Script
	for i, h := range habits {
		address := h.address
		if address == "" {
			address = fmt.Sprintf("10.1.%d.%d:80", i/200, i%200+1)
		}
		for v := range h.visits {
			c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 20000+i*50+v), address, sniffertest.ConnConfig{})
			at := time.Duration(v)*50*time.Millisecond + time.Duration(i)*time.Millisecond
			c.Handshake(at, 700*time.Microsecond)
			for range h.requests {
				at += 2 * time.Millisecond
				c.Client(at, []byte("GET /secret?key=1 HTTP/1.1\r\nHost: "+h.name+"\r\n"+h.head+"\r\n"))
				at += time.Millisecond
				c.Server(at, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+h.answer+"\r\nok"))
			}
			c.Close(at+time.Millisecond, h.closes, 700*time.Microsecond)
		}
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// see returns a Source of frames.
func see(t testing.TB, frames []sniffer.Frame) *seen {
	t.Helper()
	set := tally.New(tally.Config{})
	store := story.New(story.Config{Newest: true})
	r := run.Reader{
		Source: &sniffertest.Source{Frames: frames, Size: 256}, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{}),
		Workers: []*run.Worker{run.NewWorker(reassembly.Config{}, analyzer.Config{Traces: 8, MaxTraced: 1024}, set.Worker(nil), store)},
	}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	s := &seen{stories: story.Stores{store}}
	c := report.Capture{Packets: r.Progress.Packets.Load(), FirstPacket: time.Unix(0, r.Progress.First.Load()), LastPacket: time.Unix(0, r.Progress.Last.Load()), ReuseWindow: 60}
	set.Detail(func(sum *tally.Sum) { s.report = report.Build(sum, c, false) })
	return s
}

// shop is a few servers of different habits, some of it estimated, with health checks,
// and with caps that were met.
func shop(t testing.TB) *seen {
	s := see(t, play(t, []habit{
		{name: "shop.example", visits: 40, requests: 1, answer: "Connection: close\r\nServer: nginx/1.26\r\n", closes: sniffertest.Server},
		{name: "api.shop.example:8080", visits: 30, requests: 1, head: "User-Agent: Go-http-client/1.1\r\n", closes: sniffertest.Client, address: "10.1.9.9:8080"},
		{name: "good.example", visits: 2, requests: 90, closes: sniffertest.Client},
		{name: strings.Repeat("a-very-long-name.", 7) + "example", visits: 3, requests: 2, closes: sniffertest.Client},
		{name: "small.example", visits: 1, requests: 1, closes: sniffertest.Client},
	}))
	for i := range s.report.Servers {
		if r := &s.report.Servers[i]; r.Name == "shop.example" {
			r.Estimated = &report.Estimated{Connections: 12, Open: 2, Requests: 31, ReusedRequests: 20, Wasted: report.Wasted{Total: 9, Seconds: 0.02, ByCause: map[string]uint64{"server_idle": 9}}}
			s.report.Totals.Estimated = r.Estimated
		}
	}
	s.report.Totals.Probes = report.Probes{Connections: 12, Requests: 12, Wasted: 11}
	s.report.Limits = []report.Limit{{Name: "connections", Count: 7, Meaning: "the least recently active one was given up"}}
	return s
}

// many is n servers, each of which wastes some.
func many(t testing.TB, n int) *seen {
	var list []habit
	for i := range n {
		list = append(list, habit{name: fmt.Sprintf("svc-%03d.team.example", i), visits: 2 + i%5, requests: 1 + i%3, closes: sniffertest.Client})
	}
	return see(t, play(t, list))
}

// A user plays the terminal of a model.
type user struct {
	t testing.TB
	*Model
	now time.Time
}

// start shows a source in a terminal of some size, after a minute and a half.
func start(t testing.TB, s *seen, width, height int) *user {
	u := &user{t, New(s, "eth0", epoch), epoch.Add(90 * time.Second)}
	u.send(tea.WindowSizeMsg{Width: width, Height: height})
	u.tick(0)
	return u
}

// tick lets time pass, after which there are figures.
func (u *user) tick(d time.Duration) {
	u.now = u.now.Add(d)
	u.send(figures{Report: u.source.Report(), at: u.now})
}

// send tells the model something, and what comes of it but time.
func (u *user) send(msg tea.Msg) {
	u.t.Helper()
	_, cmd := u.Update(msg)
	if _, ok := msg.(figures); ok {
		cmd = u.askConnections()
	}
	u.run(cmd)
}

func (u *user) run(cmd tea.Cmd) {
	u.t.Helper()
	if cmd == nil || u.filter.Focused() { // which only blinks
		return
	}
	switch msg := cmd().(type) {
	case entries, told, tea.QuitMsg:
		u.send(msg)
	default:
		u.t.Fatalf("a command that is not expected: %T", msg)
	}
}

// keys are the keys that have a name.
var keys = map[string]tea.Key{
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown},
	"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
	"left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "tab": {Code: tea.KeyTab}, "backspace": {Code: tea.KeyBackspace},
	"space": {Code: tea.KeySpace, Text: " "}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+f": {Code: 'f', Mod: tea.ModCtrl},
	"ctrl+b": {Code: 'b', Mod: tea.ModCtrl}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift}, "f1": {Code: tea.KeyF1},
	"ctrl+v": {Code: 'v', Mod: tea.ModCtrl},
}

// press presses keys, by their names or as they are.
func (u *user) press(names ...string) {
	u.t.Helper()
	for _, name := range names {
		k, ok := keys[name]
		if !ok {
			k = tea.Key{Code: []rune(name)[0], Text: name}
		}
		u.send(tea.KeyPressMsg(k))
	}
}

// text is what the screen shows, without colours. It fits the screen.
func (u *user) text() string {
	u.t.Helper()
	v := u.View()
	lines := strings.Split(v.Content, "\n")
	if len(lines) > max(u.height, 1) {
		u.t.Errorf("%d lines in a terminal of %d", len(lines), u.height)
	}
	for i, l := range lines {
		if n := lipgloss.Width(l); n > u.width {
			u.t.Errorf("a line of %d columns in a terminal of %d: %q", n, u.width, l)
		}
		lines[i] = strings.TrimRight(ansi.Strip(l), " ")
	}
	text := strings.Join(lines, "\n") + "\n"
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		u.t.Errorf("a control character on the screen: %q", text)
	}
	return text
}

// shows says whether all of these are on the screen.
func (u *user) shows(wants ...string) {
	u.t.Helper()
	text := u.text()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			u.t.Errorf("%q is not on the screen:\n%s", want, text)
		}
	}
}

// hides says whether none of these is on the screen.
func (u *user) hides(wants ...string) {
	u.t.Helper()
	text := u.text()
	for _, want := range wants {
		if strings.Contains(text, want) {
			u.t.Errorf("%q is on the screen:\n%s", want, text)
		}
	}
}

// golden compares the screen with testdata/name.
func (u *user) golden(name string) {
	u.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got := u.text()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			u.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		u.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		u.t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}
