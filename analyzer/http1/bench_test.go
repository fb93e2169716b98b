package http1

import (
	"bufio"
	"bytes"
	"io"
	nethttp "net/http"
	"testing"
)

const benchRequest = "GET /assets/main.css?v=12 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/css,*/*;q=0.1\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate\r\n" +
	"Referer: http://www.example.com/\r\n" +
	"Connection: keep-alive\r\n" +
	"\r\n"

const benchResponse = "HTTP/1.1 200 OK\r\n" +
	"Server: nginx/1.22.1\r\n" +
	"Date: Sun, 22 Nov 2026 10:00:00 GMT\r\n" +
	"Content-Type: text/css\r\n" +
	"Content-Length: 10\r\n" +
	"Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n" +
	"Connection: keep-alive\r\n" +
	"Keep-Alive: timeout=65\r\n" +
	"ETag: \"65f0c0a1-400\"\r\n" +
	"Accept-Ranges: bytes\r\n" +
	"\r\n0123456789"

func benchmarkNext(b *testing.B, kind Kind, in string, size int) {
	b.Helper()
	benchmarkNamed(b, kind, in, size, false)
}

func benchmarkNamed(b *testing.B, kind Kind, in string, size int, named bool) {
	b.Helper()
	p := &Parser{Pool: new(Pool)}
	p.Reset(kind, false)
	stream := []byte(in)
	var m Message
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if named {
			p.Identify()
		}
		for i := 0; i < len(stream); i += size {
			drain(p, stream[i:min(i+size, len(stream))], &m)
		}
	}
}

func BenchmarkRequest(b *testing.B)  { benchmarkNext(b, Request, benchRequest, len(benchRequest)) }
func BenchmarkResponse(b *testing.B) { benchmarkNext(b, Response, benchResponse, len(benchResponse)) }
func BenchmarkRequestNamed(b *testing.B) {
	benchmarkNamed(b, Request, benchRequest, len(benchRequest), true)
}
func BenchmarkResponseNamed(b *testing.B) {
	benchmarkNamed(b, Response, benchResponse, len(benchResponse), true)
}
func BenchmarkRequestCut(b *testing.B)  { benchmarkNext(b, Request, benchRequest, 100) }
func BenchmarkResponseCut(b *testing.B) { benchmarkNext(b, Response, benchResponse, 100) }

func BenchmarkChunked(b *testing.B) {
	var s bytes.Buffer
	s.WriteString(chunkedHead)
	for range 8 {
		s.WriteString("1000\r\n")
		s.Write(make([]byte, 4096))
		s.WriteString("\r\n")
	}
	s.WriteString("0\r\n\r\n")
	benchmarkNext(b, Response, s.String(), 1460)
}

func BenchmarkNetHTTPRequest(b *testing.B) {
	in := bytes.NewReader(nil)
	r := bufio.NewReader(in)
	stream := []byte(benchRequest)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(stream)
		r.Reset(in)
		if _, err := nethttp.ReadRequest(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNetHTTPResponse(b *testing.B) {
	in := bytes.NewReader(nil)
	r := bufio.NewReader(in)
	stream := []byte(benchResponse)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(stream)
		r.Reset(in)
		resp, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}
