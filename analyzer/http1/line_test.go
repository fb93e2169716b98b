package http1

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http"
)

// TestLine holds that line reads what anyLine reads, of the usual lines and of all that
// differ from them in one byte or are cut.
func TestLine(t *testing.T) {
	for _, line := range []string{
		"Host: example.com\r\nX",
		"Connection: keep-alive\r\nX",
		"Connection: close\r\nX: and more",
		"Content-Length: 0\r\nX",
		"Content-Length: 1234567\r\nX",
		"Content-Length: 123456789012345678\r\nX",
		"Content-Type: text/html\r\nX",
	} {
		for i := range len(line) {
			checkLine(t, []byte(line[:i+1]))
			for c := range 256 {
				other := []byte(line)
				other[i] = byte(c)
				checkLine(t, other)
			}
		}
	}
}

func checkLine(t *testing.T, b []byte) {
	t.Helper()
	for _, before := range []head{
		{Message: &Message{Kind: Request}},
		{Message: &Message{Head: http.Head{Host: []byte("before")}, Kind: Request, ContentLength: 5}, hasLength: true},
		{Message: &Message{Kind: Response}},
	} {
		want, got := before, before
		m1, m2 := *before.Message, *before.Message
		want.Message, got.Message = &m1, &m2
		m, n := want.anyLine(b), got.line(b)
		if m != n || !reflect.DeepEqual(want, got) {
			t.Fatalf("%q: %d bytes, want %d (-want +got):\n%s", b, n, m, cmp.Diff(want, got, cmp.AllowUnexported(head{})))
		}
	}
}
