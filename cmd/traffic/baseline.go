package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/google/gopacket/reassembly"
)

// baseline counts requests and responses the way that gopacket's own examples
// do: a PacketSource decodes, and the reassembly feeds two goroutines a
// connection, which read messages with net/http. It is what Keepscope is compared
// with, so it is kept kinder to gopacket than its reassemblydump is: bodies are
// only discarded, and the assembler is asked to flush a tenth as often, which each
// time costs a look at every connection. With -in-place it is the quickest that we
// know to write on gopacket: layers are decoded in place.
func baseline(args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("traffic gopacket", flag.ContinueOnError)
	flags.SetOutput(stderr)
	inPlace := flags.Bool("in-place", false, "decode into the same layers again and again")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	if flags.NArg() != 1 {
		return usageError{errors.New("gopacket [-in-place] FILE")}
	}
	file := flags.Arg(0)
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("gopacket: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := pcapgo.NewReader(bufio.NewReaderSize(f, 256<<10))
	if err != nil {
		return fmt.Errorf("gopacket: %s: %w", file, err)
	}
	decode := decodePackets
	if *inPlace {
		decode = decodeInPlace
	}
	b := &baselineFactory{}
	if err := b.assemble(decode(r)); err != nil {
		return fmt.Errorf("gopacket: %s: %w", file, err)
	}
	b.readers.Wait()
	_, err = fmt.Fprintf(stdout, "%d requests, %d responses\n", b.requests.Load(), b.responses.Load())
	return err
}

// A decoded is a packet; tcp is nil where it is none of TCP.
type decoded struct {
	flow gopacket.Flow
	tcp  *layers.TCP
	info gopacket.CaptureInfo
}

// decodePackets reads as gopacket's examples do.
func decodePackets(r *pcapgo.Reader) func() (decoded, error) {
	source := gopacket.NewPacketSource(r, r.LinkType())
	source.NoCopy = true
	packets := source.Packets()
	return func() (decoded, error) {
		packet, ok := <-packets
		if !ok {
			return decoded{}, io.EOF
		}
		d := decoded{info: packet.Metadata().CaptureInfo}
		if tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
			d.flow, d.tcp = packet.NetworkLayer().NetworkFlow(), tcp
		}
		return d, nil
	}
}

// decodeInPlace decodes each packet into the layers of the one before.
func decodeInPlace(r *pcapgo.Reader) func() (decoded, error) {
	var eth layers.Ethernet
	var ip4 layers.IPv4
	var tcp layers.TCP
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &tcp)
	parser.IgnoreUnsupported = true
	found := make([]gopacket.LayerType, 0, 4)
	return func() (decoded, error) {
		data, info, err := r.ZeroCopyReadPacketData()
		if err != nil {
			return decoded{}, err
		}
		if err := parser.DecodeLayers(data, &found); err != nil {
			return decoded{}, err
		}
		d := decoded{info: info}
		if len(found) == 3 {
			d.flow, d.tcp = ip4.NetworkFlow(), &tcp
		}
		return d, nil
	}
}

// A baselineFactory makes the stream of each connection and holds the counts.
type baselineFactory struct {
	requests, responses atomic.Int64
	readers             sync.WaitGroup
}

const (
	flushEvery = 10_000 // packets
	idle       = 2 * time.Minute
)

type baselineContext struct{ info gopacket.CaptureInfo }

func (c *baselineContext) GetCaptureInfo() gopacket.CaptureInfo { return c.info }

func (b *baselineFactory) assemble(next func() (decoded, error)) error {
	assembler := reassembly.NewAssembler(reassembly.NewStreamPool(b))
	for n := 1; ; n++ {
		d, err := next()
		if errors.Is(err, io.EOF) {
			assembler.FlushAll()
			return nil
		}
		if err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		if d.tcp != nil {
			assembler.AssembleWithContext(d.flow, d.tcp, &baselineContext{d.info})
			if d.tcp.RST {
				closeOther(assembler, &d)
			}
		}
		if n%flushEvery == 0 {
			assembler.FlushCloseOlderThan(d.info.Timestamp.Add(-idle))
		}
	}
}

// closeOther closes the side of a connection that a RST went to. The assembler
// closes only the side that it came from, and keeps the connection: it would
// then pass over all later ones of the same addresses and ports.
func closeOther(a *reassembly.Assembler, rst *decoded) {
	t := rst.tcp
	other := layers.TCP{SrcPort: t.DstPort, DstPort: t.SrcPort, Seq: t.Ack, Ack: t.Seq, RST: true, ACK: true}
	other.SetInternalPortsForTesting()
	a.AssembleWithContext(rst.flow.Reverse(), &other, &baselineContext{rst.info})
}

// New implements reassembly.StreamFactory.
func (b *baselineFactory) New(_, _ gopacket.Flow, _ *layers.TCP, _ reassembly.AssemblerContext) reassembly.Stream {
	s := &baselineStream{
		factory: b, client: newChunkReader(), server: newChunkReader(),
		state: reassembly.NewTCPSimpleFSM(reassembly.TCPSimpleFSMOptions{}),
	}
	b.readers.Add(2)
	go s.readRequests()
	go s.readResponses()
	return s
}

// A baselineStream is one connection.
type baselineStream struct {
	factory        *baselineFactory
	client, server *chunkReader
	state          *reassembly.TCPSimpleFSM
	requests       reassembly.TCPFlowDirection // the client's

	mu      sync.Mutex
	methods []string // of the requests without a response yet
}

// Accept implements reassembly.Stream. The last ACK of a connection begins
// another one in the assembler's eyes, whose client is who sent that ACK. So
// nothing counts before a SYN, and who sends that one is the client: or else the
// next connection of the same addresses and ports would be lost.
func (s *baselineStream) Accept(tcp *layers.TCP, _ gopacket.CaptureInfo, dir reassembly.TCPFlowDirection, _ reassembly.Sequence, _ *bool, _ reassembly.AssemblerContext) bool {
	if tcp.SYN && !tcp.ACK {
		s.requests = dir
	}
	return s.state.CheckState(tcp, dir) || tcp.RST
}

// ReassembledSG implements reassembly.Stream.
func (s *baselineStream) ReassembledSG(sg reassembly.ScatterGather, _ reassembly.AssemblerContext) {
	direction, _, _, skip := sg.Info()
	n, _ := sg.Lengths()
	if n == 0 || skip > 0 {
		return
	}
	to := s.client
	if direction != s.requests {
		to = s.server
	}
	// The assembler reuses its memory.
	to.chunks <- append([]byte(nil), sg.Fetch(n)...)
}

// ReassemblyComplete implements reassembly.Stream.
func (s *baselineStream) ReassemblyComplete(reassembly.AssemblerContext) bool {
	close(s.client.chunks)
	close(s.server.chunks)
	return true
}

func (s *baselineStream) readRequests() {
	defer s.factory.readers.Done()
	defer s.client.drain()
	r := bufio.NewReader(s.client)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.methods = append(s.methods, req.Method)
		s.mu.Unlock()
		s.factory.requests.Add(1)
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
	}
}

func (s *baselineStream) readResponses() {
	defer s.factory.readers.Done()
	defer s.server.drain()
	r := bufio.NewReader(s.server)
	for {
		// The method is needed for the framing, so wait for something to frame.
		if _, err := r.Peek(1); err != nil {
			return
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: s.method()})
		if err != nil {
			return
		}
		if resp.StatusCode >= 200 {
			s.factory.responses.Add(1)
			s.answered()
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
			return
		}
	}
}

func (s *baselineStream) method() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.methods) == 0 {
		return http.MethodGet
	}
	return s.methods[0]
}

func (s *baselineStream) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.methods) > 0 {
		s.methods = s.methods[1:]
	}
}

// A chunkReader is an io.Reader of what the assembler hands over.
type chunkReader struct {
	chunks chan []byte
	rest   []byte
}

func newChunkReader() *chunkReader { return &chunkReader{chunks: make(chan []byte)} }

// Read implements io.Reader.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, ok := <-c.chunks
		if !ok {
			return 0, io.EOF
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// drain keeps the assembler from waiting for a reader that has given up.
func (c *chunkReader) drain() {
	for range c.chunks {
		continue
	}
}
