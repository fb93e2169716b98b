package tls

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openAhead has an Opener read chunks, each of which begins with a record, and reports
// whether it can go on.
func openAhead(t testing.TB, keys []byte, chunks []chunk, into *Opened, useful bool) (inStep bool) {
	t.Helper()
	opener, c := NewOpener(storeOf(t, keys)), Opening{}
	defer c.Wipe()
	if !c.Begin(chunks[0].b) {
		return false
	}
	for _, chunk := range chunks {
		if _, ok := opener.Records(&c, chunk.dir, chunk.b, into, useful); !ok {
			return false
		}
	}
	return true
}

// sameAhead holds that nothing is read otherwise where records are opened ahead, and returns
// how many Ciphers of application data were needed all the same.
func sameAhead(t *testing.T, keys []byte, chunks []chunk, opened *Opened) (ciphers int) {
	t.Helper()
	alone, ahead := NewDecryption(storeOf(t, keys), 0), NewDecryption(storeOf(t, keys), 0)
	ahead.Opened = opened
	want, got := &plaintext{}, &plaintext{}
	for p, shared := range map[*plaintext]*Decryption{want: alone, got: ahead} {
		d := shared.New(p, p)
		p.d = d
		for at, c := range chunks {
			d.Gap(c.dir, c.gap, int64(at))
			d.Data(c.dir, c.b, int64(at))
		}
		p.state = append(p.state, d.State())
		if shared == ahead {
			for _, slot := range shared.ciphers {
				if slot.cipher != nil {
					ciphers++
				}
			}
		}
		d.End(int64(len(chunks)))
	}
	for _, dir := range []Dir{Client, Server} {
		if diff := diffText(want.text[dir], got.text[dir]); diff != "" {
			t.Fatalf("%v: %s", dir, diff)
		}
	}
	if want.gaps != got.gaps || want.closed != got.closed || !slices.Equal(want.times, got.times) || !slices.Equal(want.state, got.state) {
		t.Fatalf("%+v\n%+v", want, got)
	}
	if diff := cmp.Diff(want.events, got.events) + cmp.Diff(alone.Stats, ahead.Stats); diff != "" {
		t.Fatal(diff)
	}
	return ciphers
}

// talk13 is a connection of n requests that have responses of a length.
func talk13(v *session13, n, length int) []chunk {
	chunks := []chunk{c(v.hello), s(v.answer), c(v.finished)}
	for range n {
		chunks = append(chunks, c(v.client.data("ask")), s(v.server.data(strings.Repeat("x", length))))
	}
	return chunks
}

// TestOpener holds that a Decrypter opens nothing that was opened ahead, as long as there is
// room, and that it reads all the same.
func TestOpener(t *testing.T) {
	tests := []struct {
		name    string
		chunks  func(v *session13) []chunk
		lost    string // line of the key log that is not there
		idle    bool   // nothing but the first records is useful
		room    int    // of the Opened, all there is by default
		records int    // that are opened ahead
		ciphers int    // that the Decrypter needs
		out     bool   // the Opener loses its step
	}{
		{name: "all", chunks: func(v *session13) []chunk { return talk13(v, 60, 1000) }, records: 120},
		{name: "no use", chunks: func(v *session13) []chunk { return talk13(v, 60, 1000) }, idle: true, records: 2, ciphers: 2},
		{name: "one too long", chunks: func(v *session13) []chunk {
			return append(talk13(v, 2, 5), s(v.server.data(strings.Repeat("x", maxAhead))), s(v.server.data("y")))
		}, records: 5, ciphers: 1},
		{name: "too much", chunks: func(v *session13) []chunk { return talk13(v, 200, 1500) }, room: 10_000, records: 40, ciphers: 2},
		{name: "too many", chunks: func(v *session13) []chunk { return talk13(v, maxOpened, 1) }, records: maxOpened, ciphers: 2},
		{name: "no keys", chunks: func(v *session13) []chunk { return talk13(v, 2, 5) }, lost: "CLIENT_TRAFFIC_SECRET_0", out: true},
		{name: "a record in pieces", chunks: func(v *session13) []chunk {
			chunks, long := talk13(v, 1, 5), v.server.data("long")
			return append(chunks, s(long[:8]), s(long[8:]))
		}, records: 2, ciphers: 1, out: true},
		{name: "KeyUpdate", chunks: func(v *session13) []chunk {
			return append(talk13(v, 1, 5), c(v.client.update()), c(v.client.data("y")), s(v.server.data("z")))
		}, records: 3, ciphers: 2, out: true},
		{name: "damage", chunks: func(v *session13) []chunk {
			chunks := append(talk13(v, 1, 5), c(v.client.data("y")))
			chunks[5].b[9]++
			return chunks
		}, records: 2, ciphers: 1, out: true},
		{name: "never a first", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(bytes.Repeat(v.finished, maxFirst))}
		}, ciphers: 1, out: true},
		{name: "no ServerHello", chunks: func(v *session13) []chunk { return []chunk{c(v.hello), s(v.answer[headSize+90:])} }, out: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newSession13(5)
			chunks, keys := tt.chunks(v), v.keys(tt.lost)
			var opened Opened
			if tt.room > 0 {
				opened.text = make([]byte, 0, tt.room)
			}
			inStep := openAhead(t, keys, chunks, &opened, !tt.idle)
			if n := len(opened.records); n != tt.records || inStep == tt.out {
				t.Errorf("%d records, in step: %t", n, inStep)
			}
			if n := sameAhead(t, keys, chunks, &opened); n != tt.ciphers {
				t.Errorf("%d ciphers", n)
			}
			text, records := opened.text, opened.records
			opened.Wipe()
			if !bytes.Equal(text, make([]byte, len(text))) || slices.ContainsFunc(records, func(r openedRecord) bool { return r.body != nil || r.keys != [16]byte{} }) {
				t.Error("something is left")
			}
		})
	}
}

// TestOpenedFind holds that only the record that was opened is found: by its place, head,
// number and keys.
func TestOpenedFind(t *testing.T) {
	body := []byte("body")
	var h direction
	h.keys.Traffic(h.keys.Suite, []byte("secret"))
	h.head = [headSize]byte{23, 3, 3, 0, 20}
	o := Opened{records: []openedRecord{{}, {body: &body[0], content: []byte("text"), seq: 7, keys: h.keys.Mark(), head: h.head, kind: 23}}}
	other, head := h, h
	other.keys.Traffic(h.keys.Suite, []byte("another"))
	head.head[1] = 1
	for name, found := range map[string]func() bool{
		"bytes":  func() bool { _, _, ok := o.find(&h, 7, bytes.Clone(body)); return ok },
		"empty":  func() bool { _, _, ok := o.find(&h, 7, nil); return ok },
		"number": func() bool { _, _, ok := o.find(&h, 8, body); return ok },
		"head":   func() bool { _, _, ok := o.find(&head, 7, body); return ok },
		"keys":   func() bool { _, _, ok := o.find(&other, 7, body); return ok },
		"nil":    func() bool { _, _, ok := (*Opened)(nil).find(&h, 7, body); return ok },
	} {
		if found() {
			t.Errorf("found by another's %s", name)
		}
	}
	if text, kind, ok := o.find(&h, 7, body); string(text) != "text" || kind != 23 || !ok {
		t.Errorf("%q, %d, %t", text, kind, ok)
	}
}
