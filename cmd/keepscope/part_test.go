package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMoments(t *testing.T) {
	first := time.Date(2026, 11, 22, 9, 58, 30, 5, time.UTC)
	at := func(hour, minute, second, ns int) time.Time {
		return time.Date(2026, 11, 22, hour, minute, second, ns, time.UTC)
	}
	for text, want := range map[string]time.Time{
		"2026-11-22 10:00:00":         at(10, 0, 0, 0),
		"2026-11-22 10:00:00 UTC":     at(10, 0, 0, 0),
		"2026-11-22 10:00":            at(10, 0, 0, 0),
		"2026-11-22T10:00:00.25":      at(10, 0, 0, 250e6),
		"2026-11-22T10:00:00Z":        at(10, 0, 0, 0),
		"2026-11-22T10:00:00.5+01:00": at(9, 0, 0, 500e6),
		"2026-11-22":                  at(0, 0, 0, 0),
		"10:00":                       at(10, 0, 0, 0),
		"10:00:01.5":                  at(10, 0, 1, 500e6),
		"90s":                         at(10, 0, 0, 5),
		"1h1m":                        at(10, 59, 30, 5),
		"0s":                          first,
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
		} else if got := m.on(first); !got.Equal(want) {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	for _, wrong := range []string{"", "-5s", "yesterday", "10", "25:00", "2026-13-01", "22.11.2026"} {
		var m moment
		if err := m.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("%q is taken for %v", wrong, m.on(first))
		}
	}
}

// spanReport is what the tests look at in a report.
type spanReport struct {
	Capture struct {
		Packets     int
		FirstPacket time.Time `json:"first_packet"`
		LastPacket  time.Time `json:"last_packet"`
		Span        struct {
			Since, Until time.Time
			LeftOut      int `json:"packets_left_out"`
		}
	}
	Totals  struct{ Midstream, Connections int }
	Servers []map[string]any
}

func reportOf(t *testing.T, args ...string) (r spanReport) {
	t.Helper()
	if err := json.Unmarshal(printed(t, append([]string{"read", "--output=json", demoFile(t)}, args...)...), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSpan has parts of a capture's time make all of it, each packet in one.
func TestSpan(t *testing.T) {
	all := reportOf(t)
	cut := all.Capture.FirstPacket.Add(2 * time.Second)
	for _, since := range []string{"2s", cut.Format(time.RFC3339Nano)} {
		before, after := reportOf(t, "--until="+since), reportOf(t, "--since="+since, "--workers=2")
		b, a := before.Capture, after.Capture
		if b.Packets == 0 || a.Packets == 0 || b.Packets+a.Packets != all.Capture.Packets || b.Span.LeftOut != a.Packets || a.Span.LeftOut != b.Packets {
			t.Errorf("%d packets and %d after, %d and %d left out, of %d", b.Packets, a.Packets, b.Span.LeftOut, a.Span.LeftOut, all.Capture.Packets)
		}
		if !b.LastPacket.Before(cut) || a.FirstPacket.Before(cut) || !b.Span.Until.Equal(cut) || !a.Span.Since.Equal(cut) {
			t.Errorf("cut at %v: %+v, %+v", cut, b, a)
		}
		if before.Totals.Midstream > 0 || after.Totals.Midstream == 0 {
			t.Errorf("%d and then %d connections were joined in the middle", before.Totals.Midstream, after.Totals.Midstream)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"read", "--since=1h", demoFile(t)}, console{out: &out, err: &errs}); code != exitFailed ||
		!strings.Contains(errs.String(), "what was read is of "+all.Capture.FirstPacket.Format(time.DateTime)) {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
	if text := string(printed(t, "read", "--since=2s", demoFile(t))); !strings.Contains(strings.Join(strings.Fields(text), " "),
		fmt.Sprintf("Only since %s UTC, ", cut.Format(time.DateTime))) {
		t.Error(text)
	}
}

// TestServer has of one server what the report, and the records, of all say of it.
func TestServer(t *testing.T) {
	all := reportOf(t)
	records := strings.SplitAfter(string(printed(t, "read", "--output=ndjson", "--exchanges", demoFile(t))), "\n")
	for _, want := range all.Servers {
		name := want["server"].(string)
		one := reportOf(t, "--server="+name)
		if _, err := netip.ParseAddrPort(name); err == nil { // it may be the address of others, too
			if !slices.ContainsFunc(one.Servers, func(s map[string]any) bool { return cmp.Equal(s, want) }) {
				t.Errorf("%s: %v", name, one.Servers)
			}
			continue
		}
		if diff := cmp.Diff([]map[string]any{want}, one.Servers); diff != "" {
			t.Errorf("%s (-of all +alone):\n%s", name, diff)
		}
		if n := want["connections"].(float64); float64(one.Totals.Connections) != n {
			t.Errorf("%s: %d connections in all, want %v", name, one.Totals.Connections, n)
		}
		var lines []string
		for _, l := range records {
			if strings.Contains(l, `"server_name":"`+name+`"`) {
				lines = append(lines, l)
			}
		}
		if got := string(printed(t, "read", "--output=ndjson", "--exchanges", "--server="+name, demoFile(t))); got == "" || got != strings.Join(lines, "") {
			t.Errorf("%s: %d lines, want %d", name, strings.Count(got, "\n"), len(lines))
		}
	}
	if len(all.Servers) < 10 {
		t.Errorf("%d servers", len(all.Servers))
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"read", "--server=nobody", demoFile(t)}, console{out: &out, err: &errs}); code != exitFailed || out.Len() > 0 ||
		!strings.Contains(errs.String(), "there is no such server; there is ") {
		t.Errorf("exit status %d: %s%s", code, errs.String(), out.String())
	}
}
