package tls

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/tls/keylog"
)

// A reader is an http.Conn that keeps what it is told. Where it has skip it says of each
// direction that so many bytes are of no use, and has zeros for them.
type plaintext struct {
	text   [2][]byte
	gaps   [2]int64
	closed [2]int
	events []string
	skip   [2]int64
	times  []int64
	state  []State
	lost   bool // a direction was, at least once: then it matters where chunks begin
	d      *Decrypter
}

func (p *plaintext) Data(from Dir, b []byte, at int64) {
	p.text[from] = append(p.text[from], b...)
	p.skip[from] -= min(p.skip[from], int64(len(b)))
	p.times = append(p.times, at)
}

func (p *plaintext) Gap(from Dir, n int64, _ int64) {
	p.gaps[from] += n
	p.text[from] = append(p.text[from], make([]byte, min(n, 1<<20))...)
	p.skip[from] -= min(p.skip[from], n)
}
func (p *plaintext) Close(from Dir, _ int64)  { p.closed[from]++ }
func (p *plaintext) Skippable(from Dir) int64 { return p.skip[from] }
func (p *plaintext) Skip(from Dir, n, at int64) {
	p.skip[from] -= n
	p.text[from] = append(p.text[from], make([]byte, n)...)
	p.times = append(p.times, at)
}

func (p *plaintext) TLS(from Dir, e Event, i *Info, at int64) {
	switch e {
	case Decryptable:
		p.events = append(p.events, "decrypted")
	case Undecrypted:
		p.events = append(p.events, p.d.State().String())
	case Chosen:
		p.events = append(p.events, "alpn "+string(i.ALPN))
	default:
		p.events = append(p.events, describe(from, e, i))
	}
}

// storeOf returns a sealed Store of a key log.
func storeOf(t testing.TB, log []byte) *keylog.Store {
	t.Helper()
	store := keylog.New(0)
	fill(store, log)
	store.Seal()
	return store
}

func fill(store *keylog.Store, log []byte) {
	p := keylog.NewParser(store)
	_, _ = p.Write(log)
	_ = p.Close()
}

// decrypt reads chunks, in pieces of size where it is not 0; a chunk's time is its
// number.
func decrypt(t testing.TB, s *Decryption, chunks []chunk, size int) *plaintext {
	t.Helper()
	p := &plaintext{}
	d := s.New(p, p)
	p.d = d
	for at, c := range chunks {
		if c.gap > 0 {
			d.Gap(c.dir, c.gap, int64(at))
		}
		for b := c.b; len(b) > 0; {
			piece := b
			if size > 0 {
				piece = b[:min(size, len(b))]
			}
			b = b[len(piece):]
			piece = bytes.Clone(piece)
			d.Data(c.dir, piece, int64(at))
			clear(piece) // nothing may be kept of it
		}
	}
	p.state = append(p.state, d.State())
	p.lost = s.Stats.Resumed > 0 || d.half[Client].resync || d.half[Server].resync || d.observer.half[Client].lost || d.observer.half[Server].lost
	d.Close(Client, int64(len(chunks)))
	d.Close(Server, int64(len(chunks)))
	d.End(int64(len(chunks)))
	if held := s.Held(); held != 0 {
		t.Errorf("%d bytes are held after the end", held)
	}
	p.state = append(p.state, d.State())
	return p
}

func diffText(want, got []byte) string {
	if bytes.Equal(want, got) {
		return ""
	}
	if len(want) > 200 || len(got) > 200 {
		i := 0
		for i < len(want) && i < len(got) && want[i] == got[i] {
			i++
		}
		return fmt.Sprintf("%d bytes wanted, %d got; they differ at %d", len(want), len(got), i)
	}
	return cmp.Diff(string(want), string(got))
}
