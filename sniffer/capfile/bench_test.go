package capfile

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
)

// benchFile writes a capture of about 64 MiB, with small and large packets.
func benchFile(b *testing.B, pcapng bool) string {
	frames := someFrames(512)
	for i := range frames {
		size := []int{66, 1514, 66, 66, 300, 66, 1514, 900}[i%8]
		frames[i].Data, frames[i].Length = make([]byte, size), uint32(size)
	}
	data := pcapFile(binary.LittleEndian, magicMicro, frames)
	head := headerSize
	if pcapng {
		data = ngFile(binary.LittleEndian, frames)
		head = len(ngFile(binary.LittleEndian, nil))
	}
	path := filepath.Join(b.TempDir(), "bench")
	out, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	for size := 0; size < 64<<20; {
		n, err := out.Write(data)
		if err != nil {
			b.Fatal(err)
		}
		size += n
		data = data[min(head, len(data)):]
		head = 0
	}
	info, err := out.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	return path
}

func benchRead(b *testing.B, path string) {
	var batches [2]sniffer.Batch
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; ; i++ {
			if err = f.Read(&batches[i&1]); err != nil {
				break
			}
		}
		f.Close()
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B)       { benchRead(b, benchFile(b, false)) }
func BenchmarkReadPcapng(b *testing.B) { benchRead(b, benchFile(b, true)) }

// BenchmarkCat only copies the file into memory: the yardstick.
func BenchmarkCat(b *testing.B) {
	path := benchFile(b, false)
	buffer := make([]byte, bufferSize)
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = f.Read(buffer)
		}
		f.Close()
	}
}

// BenchmarkWalk only goes from record header to record header.
func BenchmarkWalk(b *testing.B) {
	path := benchFile(b, false)
	buffer := make([]byte, bufferSize)
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err = io.ReadFull(f, buffer[:headerSize]); err != nil {
			b.Fatal(err)
		}
		for have := 0; err == nil; {
			var n int
			n, err = f.Read(buffer[have:])
			have += n
			at := 0
			for have-at >= 16 {
				size := 16 + int(binary.LittleEndian.Uint32(buffer[at+8:]))
				if have-at < size {
					break
				}
				at += size
			}
			have = copy(buffer, buffer[at:have])
		}
		f.Close()
	}
}
