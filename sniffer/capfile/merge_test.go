package capfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

func at(times ...int64) []sniffer.Frame {
	frames := make([]sniffer.Frame, len(times))
	for i, t := range times {
		data := fmt.Appendf(nil, "%d.%d", t, i)
		frames[i] = sniffer.Frame{Time: t * 1000, Data: data, Length: uint32(len(data)), Link: 1, Number: uint32(i + 1)}
	}
	return frames
}

func TestMergeOrder(t *testing.T) {
	cases := []struct {
		name  string
		files [][]int64
		want  string // interface:microseconds
	}{
		{"none", nil, ""},
		{"one", [][]int64{{3, 1, 2}}, "0:3 0:1 0:2 "},
		{"interleaved", [][]int64{{1, 4, 5}, {2, 3, 6}}, "0:1 1:2 1:3 0:4 0:5 1:6 "},
		{"equal times", [][]int64{{1, 2, 2, 3}, {1, 2, 3}, {2}}, "0:1 1:1 0:2 0:2 1:2 2:2 0:3 1:3 "},
		{"back in a file", [][]int64{{5, 1, 9}, {4, 6, 2}}, "0:5 0:1 1:4 1:6 1:2 0:9 "},
		{"far ahead in a file", [][]int64{{1, 9000, 4, 7}, {2, 3, 5, 6}}, "0:1 1:2 1:3 0:9000 0:4 1:5 1:6 0:7 "},
		{"far back in a file", [][]int64{{1, 4, 0, 7}, {2, 3, 5, 6}}, "0:1 0:4 0:0 1:2 1:3 1:5 1:6 0:7 "},
		{"far back, later", [][]int64{{1, 3, 5, 0, 7}, {2, 4, 6}}, "0:1 1:2 0:3 0:5 0:0 1:4 1:6 0:7 "},
		{"far ahead at the end", [][]int64{{1, 9000}, {2, 3}}, "0:1 1:2 1:3 0:9000 "},
		{"rotated", [][]int64{{1, 2}, {2, 3}, {4}}, "0:1 0:2 0:2 0:3 0:4 "},
		{"rotated, named in reverse", [][]int64{{4}, {2, 3}, {1}}, "0:1 0:2 0:3 0:4 "},
		{"an empty one", [][]int64{{2}, {}, {1, 3}}, "0:1 1:2 0:3 "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var files []*File
			for _, times := range c.files {
				files = append(files, mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, at(times...))))
			}
			m := Merge(files...)
			frames, err := all(m)
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			got := ""
			for _, f := range frames {
				got += fmt.Sprintf("%d:%d ", f.Interface, f.Time/1000)
				if int(f.Interface) >= len(m.Interfaces()) {
					t.Errorf("interface %d of %d", f.Interface, len(m.Interfaces()))
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergeOfManyFrames(t *testing.T) {
	for _, share := range []int{1, 7, 1000} { // frames in a row of one file
		want := someFrames(5000)
		parts := make([][]sniffer.Frame, 3)
		for i := range want {
			part := i / share % len(parts)
			parts[part] = append(parts[part], want[i])
			want[i].Number = uint32(len(parts[part])) // in its own file
		}
		var files []*File
		for _, p := range parts {
			files = append(files, mustOpen(t, ngFile(binary.BigEndian, p)))
		}
		got, err := all(Merge(files...))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for i := range got {
			got[i].Interface = 0
		}
		if diff := diffFrames(want, got); diff != "" {
			t.Errorf("in turns of %d: %s", share, diff)
		}
	}
}

func TestMergeSharesMemory(t *testing.T) {
	var files []*File
	for range 200 {
		files = append(files, mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, someFrames(300))))
	}
	m := Merge(files...)
	var b sniffer.Batch
	for m.Read(&b) == nil {
		held := 0
		for _, in := range m.inputs {
			held += cap(in.batch.Buffer)
		}
		if most := len(files)*minBuffer + bufferSize; held > most {
			t.Fatalf("inputs hold %d bytes, more than %d", held, most)
		}
	}
}

func TestMergeDeliversAllBeforeAnError(t *testing.T) {
	damaged := pcapFile(binary.LittleEndian, magicMicro, at(1, 2))
	damaged = append(damaged, slices.Repeat([]byte{0xff}, 16)...)
	cut := pcapFile(binary.LittleEndian, magicMicro, at(3, 4))
	m := Merge(mustOpen(t, damaged), mustOpen(t, cut[:len(cut)-1]), mustOpen(t, ngFile(binary.LittleEndian, at(5, 6))))
	got, err := all(m)
	if len(got) != 5 || !errors.Is(err, ErrMalformed) {
		t.Errorf("%d frames, %v", len(got), err)
	}
	if err := m.Warning(); !errors.Is(err, ErrTruncated) {
		t.Errorf("Warning() = %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestMergeDoesNotAllocate(t *testing.T) {
	frames := someFrames(20000)
	m := Merge(mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, frames)),
		mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, frames)))
	var b sniffer.Batch
	read := func() {
		if err := m.Read(&b); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		read()
	}
	if n := testing.AllocsPerRun(20, read); n != 0 {
		t.Errorf("%v allocations per Read", n)
	}
}
