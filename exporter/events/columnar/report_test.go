package columnar

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/keepscope/keepscope/exporter/events"
)

// withReport returns a file of one row, with a report unless it is empty.
func withReport(t testing.TB, report string) []byte {
	t.Helper()
	f := New("connection", events.Connections)
	var b bytes.Buffer
	w := f.NewWriter(&b, Place{}, "1.2.3")
	if err := w.Write(f.Append(nil, plain())); err != nil {
		t.Fatal(err)
	}
	if report != "" {
		w.SetReport([]byte(report))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReport(t *testing.T) {
	b := withReport(t, `{"schema":2}`)
	got, err := Report(bytes.NewReader(b), int64(len(b)))
	if err != nil || string(got) != `{"schema":2}` || !Is(b) {
		t.Errorf("%q, %v", got, err)
	}
	if rows, err := parquet.Read[row](bytes.NewReader(b), int64(len(b))); err != nil || len(rows) != 1 {
		t.Errorf("%d rows beside it: %v", len(rows), err)
	}
	none := withReport(t, "")
	if _, err := Report(bytes.NewReader(none), int64(len(none))); !errors.Is(err, ErrNoReport) {
		t.Error(err)
	}
	for n := range len(b) {
		if _, err := Report(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Fatalf("the first %d of %d bytes are taken", n, len(b))
		}
	}
}

// FuzzReport has files whose metadata are anything.
func FuzzReport(f *testing.F) {
	f.Add(withReport(f, "{}"))
	f.Add([]byte("PAR1\x04\x00\x00\x00PAR1"))
	f.Add([]byte("\xff\xff\xff\x7fPAR1"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Report(bytes.NewReader(b), int64(len(b))) // it must return
	})
}
