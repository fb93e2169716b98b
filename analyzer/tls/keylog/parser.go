package keylog

import "bytes"

// A Label says what a secret is for.
type Label uint8

// The labels. A master secret has the label CLIENT_RANDOM.
const (
	Master Label = iota
	ClientHandshake
	ServerHandshake
	ClientTraffic
	ServerTraffic
	ClientEarly
	numLabels
)

var labels = [numLabels]string{
	Master:          "CLIENT_RANDOM",
	ClientHandshake: "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
	ServerHandshake: "SERVER_HANDSHAKE_TRAFFIC_SECRET",
	ClientTraffic:   "CLIENT_TRAFFIC_SECRET_0",
	ServerTraffic:   "SERVER_TRAFFIC_SECRET_0",
	ClientEarly:     "CLIENT_EARLY_TRAFFIC_SECRET",
}

// String returns the label as a key log has it.
func (l Label) String() string {
	if l < numLabels {
		return labels[l]
	}
	return "unknown"
}

const (
	maxLine    = 256
	randomSize = 32
	masterSize = 48
	maxSecret  = 48 // of SHA-384
)

// Lines counts the lines of a key log.
type Lines struct {
	Taken  uint64 // a secret that was not known
	Double uint64 // a secret that was
	Other  uint64 // comments, empty lines and other labels
	Broken uint64 // a label of ours without its fields, no label at all, or a line too long
}

// Add adds m to l.
func (l *Lines) Add(m Lines) {
	l.Taken += m.Taken
	l.Double += m.Double
	l.Other += m.Other
	l.Broken += m.Broken
}

// A Parser reads the lines of one key log. It is not safe for concurrent use.
type Parser struct {
	Lines Lines // for who calls Write; the Store's Stats have all parsers' together

	counted Lines
	store   *Store
	line    []byte          // of an unfinished line
	secret  [maxSecret]byte // of the line that is read; a stack that grows would leave a copy behind
	long    bool            // the line is too long; its rest is passed over
}

// NewParser returns a Parser that fills s.
func NewParser(s *Store) *Parser { return &Parser{store: s} }

// Write reads the bytes that follow. It takes all of them and never fails, and
// keeps none but those of an unfinished line.
func (p *Parser) Write(b []byte) (int, error) {
	defer p.tell()
	n := len(b)
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			p.keep(b)
			return n, nil
		}
		if len(p.line) == 0 && !p.long {
			p.take(b[:end])
		} else {
			p.keep(b[:end])
			p.end()
		}
		b = b[end+1:]
	}
}

// Close reads what came after the last line end as a line, and wipes it.
func (p *Parser) Close() error {
	defer p.tell()
	if len(p.line) > 0 || p.long {
		p.end()
	}
	clear(p.line[:cap(p.line)])
	p.line = nil
	return nil
}

// tell has the Store count the lines.
func (p *Parser) tell() {
	if p.Lines != p.counted {
		p.store.count(p.Lines, p.counted)
		p.counted = p.Lines
	}
}

// keep appends b to the unfinished line. The buffer never moves, so no copy of it
// stays behind.
func (p *Parser) keep(b []byte) {
	if len(b) == 0 || p.long {
		return
	}
	if p.line == nil {
		p.line = make([]byte, 0, maxLine)
	}
	if len(p.line)+len(b) > maxLine {
		p.long = true
		b = b[:maxLine-len(p.line)]
	}
	p.line = append(p.line, b...)
}

func (p *Parser) end() {
	if p.long && p.line[0] != '#' {
		p.Lines.Broken++
	} else {
		p.take(p.line)
	}
	clear(p.line)
	p.line, p.long = p.line[:0], false
}

// take reads a line.
func (p *Parser) take(line []byte) {
	if len(line) > maxLine && line[0] != '#' {
		p.Lines.Broken++
		return
	}
	line = bytes.TrimRight(line, " \t\r")
	if len(line) == 0 || line[0] == '#' {
		p.Lines.Other++
		return
	}
	name, rest, _ := bytes.Cut(line, []byte{' '})
	label, known := find(name)
	if !known {
		if isLabel(name) && len(rest) > 0 {
			p.Lines.Other++
		} else {
			p.Lines.Broken++
		}
		return
	}
	var random [randomSize]byte
	size := 0
	if len(rest) > 2*randomSize && rest[2*randomSize] == ' ' && unhex(random[:], rest[:2*randomSize]) {
		digits := rest[2*randomSize+1:]
		if n := len(digits); n == 2*maxSecret || n == 2*32 && label != Master {
			if unhex(p.secret[:n/2], digits) {
				size = n / 2
			}
		}
	}
	switch {
	case size == 0:
		p.Lines.Broken++
	default:
		switch p.store.Add(label, &random, p.secret[:size]) {
		case Added:
			p.Lines.Taken++
		case Known:
			p.Lines.Double++
		default:
			p.Lines.Broken++
		}
	}
	clear(p.secret[:])
}

func find(name []byte) (Label, bool) {
	for l, s := range labels {
		if string(name) == s {
			return Label(l), true
		}
	}
	return 0, false
}

// isLabel says whether a word looks like a label: capitals, digits and
// underscores.
func isLabel(name []byte) bool {
	for _, b := range name {
		if (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '_' {
			return false
		}
	}
	return len(name) > 0
}

// nibbles is the value of each hexadecimal digit plus 1.
var nibbles = func() (t [256]byte) {
	for i, d := range "0123456789abcdef" {
		t[d] = byte(i) + 1
	}
	for i, d := range "ABCDEF" {
		t[d] = byte(i) + 11
	}
	return t
}()

// unhex reads 2*len(dst) digits.
func unhex(dst, digits []byte) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, low := nibbles[digits[2*i]], nibbles[digits[2*i+1]]
		if high == 0 || low == 0 {
			return false
		}
		dst[i] = (high-1)<<4 | (low - 1)
	}
	return true
}
