package screen

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestSizes draws every page in terminals of every size that people have.
func TestSizes(t *testing.T) {
	s := shop(t)
	for _, size := range [][2]int{{200, 60}, {160, 50}, {120, 40}, {80, 24}, {60, 15}, {40, 12}, {20, 5}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			u := start(t, s, size[0], size[1])
			name := fmt.Sprintf("%dx%d-", size[0], size[1])
			u.golden(name + "servers")
			u.press("enter")
			u.golden(name + "connections")
			u.press("enter")
			u.golden(name + "story")
			u.press("esc", "esc", "a")
			u.golden(name + "advice")
			u.press("?")
			u.golden(name + "help")
		})
	}
}

// TestFits: no page is larger than the terminal, whatever its size.
func TestFits(t *testing.T) {
	s := shop(t)
	u := start(t, s, 80, 24)
	for _, page := range [][]string{{}, {"/", "s", "h", "o", "p"}, {"esc", "enter"}, {"enter"}, {"esc", "esc", "a"}, {"?"}} {
		u.press(page...)
		for width := 1; width <= 210; width += 11 {
			for height := 1; height <= 65; height += 9 {
				u.send(tea.WindowSizeMsg{Width: width, Height: height})
				u.text()
			}
		}
	}
}

// order returns the names of the rows that the table shows.
func (u *user) order() (names []string) {
	for i := range u.servers.rows {
		names = append(names, u.servers.rows[i].id())
	}
	return names
}

// TestServers: none, one, and more than there is room for.
func TestServers(t *testing.T) {
	for _, n := range []int{0, 1, 500} {
		u := start(t, many(t, n), 100, 30)
		u.golden(fmt.Sprintf("%d-servers", n))
		u.press("enter", "enter", "esc", "esc", "a", "esc", "down", "end", "pgup")
		u.text()
	}
	u := start(t, see(t, nil), 80, 24)
	u.shows("no packet seen yet")
	u.source.(*seen).report.Capture.Packets = 7
	u.tick(every)
	u.shows("no TCP connection to any server among 7 packets yet")
}

// TestMoving: the cursor goes where it is told, and all rows can be reached.
func TestMoving(t *testing.T) {
	u := start(t, many(t, 500), 100, 30)
	at := func(want int) {
		t.Helper()
		if u.servers.cursor != want {
			t.Errorf("at row %d, want %d", u.servers.cursor, want)
		}
		u.shows(fmt.Sprintf("SERVERS %d of 500", want+1), "── "+u.servers.rows[want].key.Server+" ─")
	}
	page := func() int { u.text(); return u.servers.height }
	at(0)
	u.press("down", "j", "j", "up")
	at(2)
	u.press("k", "k", "k", "up")
	at(0)
	u.press("pgdown")
	at(page())
	u.press("ctrl+f")
	at(2 * page())
	u.press("pgup", "ctrl+b", "ctrl+b")
	at(0)
	u.press("G")
	at(499)
	u.press("home")
	at(0)
	u.press("end", "g")
	at(0)
	u = start(t, many(t, 60), 60, 15)
	seen := map[string]bool{}
	for range 60 {
		seen[u.servers.selected().key.Server] = true
		if !strings.Contains(u.text(), u.servers.selected().key.Server) {
			t.Fatal("the selected row is not shown")
		}
		u.press("down")
	}
	if len(seen) != 60 {
		t.Errorf("%d rows can be reached", len(seen))
	}
}

// TestSorting: each column sorts, said and shown, and the cursor stays on its row.
func TestSorting(t *testing.T) {
	u := start(t, shop(t), 200, 60)
	u.press("down")
	chosen := u.servers.selected().id()
	for i, c := range columns {
		u.press(fmt.Sprint((i + 1) % 10))
		u.shows("sorted by "+c.name, "▼"+c.title)
		value := func(i int) float64 { return c.value(&u.servers.rows[i]) }
		for k := 1; k < len(u.servers.rows); k++ {
			if value(k-1) < value(k) {
				t.Errorf("by %s: %v", c.name, u.order())
			}
		}
		if got := u.servers.selected().id(); got != chosen {
			t.Errorf("by %s the cursor is on %s", c.name, got)
		}
		down := u.order()
		u.press("r")
		u.shows("sorted by "+c.name+", reversed", "▲"+c.title)
		up := u.order()
		if cmp.Equal(down, up) != (value(0) == value(len(up)-1)) || u.servers.selected().id() != chosen {
			t.Errorf("by %s, reversed: %v", c.name, up)
		}
		u.press("r")
	}
	u.press("1")
	first := u.order()
	for range columns {
		u.press("s")
	}
	if diff := cmp.Diff(first, u.order()); diff != "" {
		t.Error(diff)
	}
	for _, keys := range [][2]string{{"s", "S"}, {"right", "left"}, {"tab", "shift+tab"}} {
		u.press(keys[0], keys[0])
		u.shows("▼" + columns[2].title)
		u.press(keys[1], keys[1])
		u.shows("▼" + columns[0].title)
	}
	u.press("S")
	u.shows("▼" + columns[len(columns)-1].title)
}

// TestSortColumnIsShown: the order can be seen, however narrow the screen.
func TestSortColumnIsShown(t *testing.T) {
	for i, c := range columns {
		u := start(t, shop(t), 60, 20)
		u.press(fmt.Sprint((i + 1) % 10))
		u.shows("▼" + c.title)
	}
}

// TestFilter: as somebody types, and by name, address and cause.
func TestFilter(t *testing.T) {
	u := start(t, shop(t), 100, 30)
	u.press("/", "s", "H", "o")
	u.shows("/sHo", "SERVERS 1 of 3 that match /sHo, of 6")
	u.hides("good.example")
	u.press("down")
	if got := u.servers.selected().id(); got != "api.shop.example:8080" {
		t.Errorf("the cursor is on %s", got)
	}
	u.press("backspace", "backspace", "backspace")
	u.shows("SERVERS 2 of 6 ·", "good.example")
	u.press("g", "o", "o", "d", "enter")
	u.shows("SERVERS 1 of 1 that match /good, of 6", "? help")
	u.press("s")
	u.shows("sorted by wasted handshakes a second")
	u.press("/")
	u.shows("/good")
	u.press("x")
	u.shows("no server matches; Esc drops the filter")
	u.press("up", "down", "enter", "enter", "a") // there is nothing to open
	u.shows("no server matches")
	u.press("esc")
	u.shows("SERVERS 2 of 6 ·")
	for filter, want := range map[string]int{"10.1.0.1": 2, "server_close": 1, "SERVER_IDLE": 1, "8080": 1} {
		u.press(append([]string{"/"}, strings.Split(filter, "")...)...)
		if n := len(u.servers.rows); n != want {
			t.Errorf("/%s shows %v", filter, u.order())
		}
		u.press("esc")
	}
	u.press("/")
	u.send(tea.PasteMsg{Content: strings.Repeat("x", 1000) + "\x1b[31m\n"})
	if n := len(u.filters[atServers]); n != maxFilter {
		t.Errorf("a filter of %d bytes", n)
	}
	u.press("ctrl+v") // starts no program
	u.text()
	u.press("q", "esc", "q")
	if n := u.source.(*seen).stopped; n != 1 {
		t.Errorf("stopped %d times: q is a letter while one types", n)
	}
}

// grow adds so many single requests and wasted handshakes to a server's figures.
func grow(s *seen, name string, n uint64) {
	r := *s.report
	r.Servers = slices.Clone(r.Servers)
	for i := range r.Servers {
		x := &r.Servers[i]
		if x.Name != name {
			continue
		}
		for _, sum := range []*report.Summary{&r.Totals, &x.Summary} {
			sum.Connections += n
			sum.Used += n
			sum.Requests += n
			sum.Wasted.Total += n
			sum.Wasted.ByCause = maps.Clone(sum.Wasted.ByCause)
			sum.Wasted.ByCause["pool_miss"] += n
		}
	}
	s.report = &r
}

// TestWindows: figures of the last minute and of five, with their sparklines.
func TestWindows(t *testing.T) {
	s := shop(t)
	u := start(t, s, 140, 40)
	for i := range 12 * 8 {
		if n := i - 12*5; n > 0 {
			grow(s, "good.example", uint64(n))
		}
		u.tick(5 * time.Second)
	}
	u.shows("since start", "20.5 %")
	u.golden("window-start")
	u.press("w")
	u.shows("figures of the window: last minute")
	u.tick(0)
	u.golden("window-minute")
	u.press("w")
	u.shows("figures of the window: last 5 minutes")
	u.golden("window-five-minutes")
	u.press("w")
	u.shows("figures of the window: since start")
	u.tick(saidFor)
	u.hides("figures of the window")
}

// TestPause: figures stand still and say so, while capturing goes on.
func TestPause(t *testing.T) {
	s := shop(t)
	u := start(t, s, 120, 30)
	for _, k := range []string{"p", "space"} {
		u.press(k)
		u.shows("capturing goes on", "PAUSED, 0s behind")
		before := u.servers.rows[0].Wasted
		grow(s, "shop.example", 1000)
		u.tick(3 * time.Second)
		u.shows("PAUSED, 3s behind")
		if u.servers.rows[0].Wasted != before {
			t.Error("a figure has changed")
		}
		u.press(k)
		u.shows("figures go on")
		u.tick(every)
		if u.servers.rows[0].Wasted == before {
			t.Error("no figure has changed")
		}
	}
}

// TestPauseOfWindow: also figures of the last minute stand still.
func TestPauseOfWindow(t *testing.T) {
	s := shop(t)
	u := start(t, s, 140, 30)
	tick := func() {
		grow(s, "shop.example", 1)
		u.tick(5 * time.Second)
	}
	for range 30 {
		tick()
	}
	u.press("w", "p")
	u.tick(saidFor)
	body := func() string {
		_, text, _ := strings.Cut(u.text(), "\n")
		return text
	}
	before := body()
	for range 30 {
		tick()
	}
	if diff := cmp.Diff(before, body()); diff != "" {
		t.Error(diff)
	}
	u.press("w", "w", "w")
	u.tick(saidFor)
	if diff := cmp.Diff(before, body()); diff != "" {
		t.Error(diff)
	}
}

// TestNewServers: what comes anew is told, and marked for a while.
func TestNewServers(t *testing.T) {
	s := many(t, 2)
	u := start(t, s, 100, 30)
	u.hides("new:", "+ svc")
	s.report = many(t, 7).report
	u.tick(every)
	u.shows("new: svc-004.team.example, svc-003.team.example, svc-002.team.example and 2 more", "+ svc-003.team.example")
	u.tick(freshFor)
	u.hides("new:", "+ svc")
	// A busy machine may give thousands of servers up: what was known of them goes.
	s.report = &report.Report{}
	u.tick(every)
	if n := len(u.servers.known); n != 0 {
		t.Errorf("%d servers are remembered that are gone", n)
	}
}

// TestStays: the cursor stays on its server when that is overtaken, and at the top
// until somebody moves it.
func TestStays(t *testing.T) {
	s := shop(t)
	u := start(t, s, 100, 30)
	grow(s, "good.example", 1000)
	u.tick(every)
	if at := u.servers.selected().id(); at != "good.example" {
		t.Errorf("at the top is %s", at)
	}
	u.press("down")
	chosen := u.servers.selected().id()
	grow(s, chosen, 5000)
	u.tick(every)
	if at := u.servers.selected().id(); at != chosen || u.servers.cursor != 0 {
		t.Errorf("the cursor is on %s, row %d", at, u.servers.cursor)
	}
}

// TestDrillDown: server, connections, story, and back.
func TestDrillDown(t *testing.T) {
	u := start(t, shop(t), 100, 30)
	u.press("enter")
	u.shows("shop.example · CONNECTIONS 1 of 9 kept", "wasted, server_close", "1 connection would have been enough")
	u.press("down")
	id := u.connections.selected().ID
	u.press("/", "n", "e", "e", "d", "e", "d")
	u.shows("CONNECTIONS 1 of 1 that match /needed, of 9")
	u.press("z", "enter")
	u.shows("no connection matches")
	u.press("enter", "esc")
	u.shows("CONNECTIONS 2 of 9")
	u.press("enter")
	u.shows("CONNECTION "+id.String(), "SYN .. ACK", "enough", "lines 1–")
	page := func() string {
		_, text, _ := strings.Cut(u.text(), "── CONNECTION")
		return text
	}
	before := page()
	u.press("pgdown")
	u.hides("lines 1–")
	u.tick(every)
	u.press("home")
	if diff := cmp.Diff(before, page()); diff != "" {
		t.Error(diff)
	}
	u.press("end")
	u.shows("tcp.port in")
	u.press("g", "?")
	u.shows("HELP", "server → its connections → the story of one")
	u.press("?", "esc")
	u.shows("CONNECTION " + id.String())
	u.press("esc")
	u.shows("CONNECTIONS 2 of 9")
	u.press("esc")
	u.shows("SERVERS 1 of 6")
	u.press("esc", "esc")
	u.shows("SERVERS 1 of 6")
	// A story that is asked for may have been given up.
	u.press("enter")
	u.source.(*seen).stories = nil
	u.press("enter")
	u.shows("is kept no more")
	u.tick(every)
	u.shows("none is kept: it takes")
}

// TestAdvice: what to change about the selected server, whole on its page.
func TestAdvice(t *testing.T) {
	u := start(t, shop(t), 100, 24)
	u.shows("The server answers “Connection: close”", "Wasted: 39 server_close")
	u.press("a")
	u.shows("ADVICE", "e.g. ", "keep connections open.")
	u.press("esc", "G")
	u.shows("Too little traffic for advice")
	u.press("g", "/", "v", "e", "r", "y", "enter")
	name := strings.Repeat("a-very-long-name.", 7) + "example"
	if !strings.Contains(strings.ReplaceAll(u.text(), "\n", ""), name) {
		t.Errorf("the whole name is not shown:\n%s", u.text())
	}
}

// TestEnd: one q ends the capture, a second one the view; the end of the capture ends it
// all.
func TestEnd(t *testing.T) {
	for _, k := range []string{"q", "ctrl+c"} {
		u := start(t, shop(t), 100, 24)
		u.press(k)
		u.shows("finishing; again to quit at once")
		if n := u.source.(*seen).stopped; n != 1 {
			t.Errorf("stopped %d times", n)
		}
		_, cmd := u.Update(tea.KeyPressMsg(map[string]tea.Key{"q": {Code: 'q', Text: "q"}, "ctrl+c": keys["ctrl+c"]}[k]))
		if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%s twice does not quit", k)
		}
		if ended, _ := u.Ended(); ended {
			t.Error("it is said to have ended")
		}
		if _, cmd = u.Update(doneMsg{errSeen}); cmd == nil {
			t.Fatal("it goes on")
		}
		if ended, why := u.Ended(); !ended || !errors.Is(why, errSeen) {
			t.Errorf("ended %t, %v", ended, why)
		}
	}
}

// TestMissed: what the capture missed is on every page.
func TestMissed(t *testing.T) {
	s := shop(t)
	s.report.Capture.Dropped.Kernel = 12
	for _, size := range [][2]int{{60, 15}, {200, 60}} {
		u := start(t, s, size[0], size[1])
		for _, page := range []string{"a", "esc", "enter", "enter"} {
			u.press(page)
			u.shows("The capture is not whole: 12 packets dropped", "Caps that were met: connections 7")
			u.hides("none dropped")
		}
	}
}

// TestHostileNames: names that were chosen to steer a terminal.
func TestHostileNames(t *testing.T) {
	s := see(t, play(t, []habit{
		{name: "a\x1b[31m\x1b]0;owned\x07.example", visits: 30, requests: 2, closes: sniffertest.Client, answer: "Connection: close\r\n"},
		{name: "\xff\u202eb\u009b2J", visits: 30, requests: 1, closes: sniffertest.Client},
		{name: strings.Repeat("%", 100), visits: 30, requests: 1, closes: sniffertest.Client},
		{name: "百度.example", visits: 30, requests: 1, closes: sniffertest.Client},
	}))
	// The analyzer leaves no such name; were one to come, it would be shown as text.
	for i := range s.report.Servers {
		s.report.Servers[i].Name += "\x1b[2J\x9b\u202e\r\n"
	}
	u := start(t, s, 80, 24)
	u.shows(`\x1b[2J`)
	for range 4 {
		u.text()
		u.press("a")
		u.text()
		u.press("esc", "enter")
		u.text()
		u.press("enter")
		for range 8 {
			u.text()
			u.press("pgdown")
		}
		u.press("esc", "esc", "down")
	}
}

// TestAsks: figures are asked for each second, and more rarely where making them takes
// long.
func TestAsks(t *testing.T) {
	u := start(t, shop(t), 80, 24)
	before := time.Now()
	got, ok := u.take().(figures)
	if !ok || got.Report != u.source.Report() || got.at.Before(before) || got.took > got.at.Sub(before) {
		t.Errorf("%+v", got)
	}
	if pause(0) != every || pause(10*time.Millisecond) != every || pause(500*time.Millisecond) != 2500*time.Millisecond || pause(time.Minute) != seldom {
		t.Error("how long it waits")
	}
	if cmd := u.Init(); cmd == nil {
		t.Error("it asks for nothing at first")
	}
}

// BenchmarkView draws a screen of 500 servers from new figures, as is done each second.
func BenchmarkView(b *testing.B) {
	u := start(b, many(b, 500), 200, 60)
	for b.Loop() {
		u.Update(figures{Report: u.source.Report(), at: u.now})
		_ = u.View()
	}
}
