package sniffertest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// maxRepeated bounds what a repetition makes, against a slip of the pen.
const maxRepeated = 256 << 20

// Parse reads a script. An error names the line.
func Parse(text []byte) (*Script, error) {
	p := parser{script: new(Script), conns: make(map[string]*Conn)}
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		number, line := i+1, strings.TrimSuffix(lines[i], "\r")
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSuffix(lines[i], "\r")
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("sniffertest: line %d: %w", number, err)
		}
	}
	return p.script, nil
}

// MustParse is Parse for a text that is part of a test: it panics on an error.
func MustParse(text string) *Script {
	s, err := Parse([]byte(text))
	if err != nil {
		panic(err)
	}
	return s
}

type parser struct {
	script *Script
	conns  map[string]*Conn
	now    time.Duration
}

// A token is a word, or payload.
type token struct {
	word    string
	payload []byte
	isData  bool
}

func (p *parser) line(line string) error {
	tokens, err := tokens(line)
	if err != nil || len(tokens) == 0 {
		return err
	}
	if tokens[0].word == "conn" {
		return p.conn(tokens[1:])
	}
	if at, ok := strings.CutPrefix(tokens[0].word, "@"); ok {
		if err := p.time(at); err != nil {
			return err
		}
		tokens = tokens[1:]
	}
	if len(tokens) < 2 {
		return errors.New("nothing happens in it")
	}
	if tokens[0].word == "dns" {
		return p.dns(tokens[1:])
	}
	c := p.conns[tokens[0].word]
	if c == nil {
		return fmt.Errorf("connection %q is not declared", tokens[0].word)
	}
	return p.action(c, tokens[1].word, tokens[2:])
}

func (p *parser) time(text string) error {
	relative := strings.HasPrefix(text, "+")
	d, err := time.ParseDuration(strings.TrimPrefix(text, "+"))
	if err != nil {
		return fmt.Errorf("time @%s: %w", text, err)
	}
	if relative {
		d += p.now
	}
	p.now = d
	return nil
}

func (p *parser) conn(tokens []token) error {
	if len(tokens) < 3 {
		return errors.New("conn takes a name and two endpoints")
	}
	name := tokens[0].word
	if p.conns[name] != nil || name == "" || name == "dns" || name == "conn" {
		return fmt.Errorf("name %q cannot be given to a connection here", name)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		var err error
		if ends[i], err = netip.ParseAddrPort(tokens[1+i].word); err != nil {
			return err
		}
	}
	if ends[0].Addr().Is4() != ends[1].Addr().Is4() {
		return errors.New("endpoints are of different versions of IP")
	}
	var config ConnConfig
	for _, t := range tokens[3:] {
		if err := connOption(&config, t); err != nil {
			return err
		}
	}
	p.conns[name] = p.script.conn(ends[0], ends[1], config)
	return nil
}

func connOption(config *ConnConfig, t token) error {
	key, value, _ := strings.Cut(t.word, "=")
	switch key {
	case "isn":
		client, server, _ := strings.Cut(value, ",")
		c, err1 := number[uint32](client, 32)
		s, err2 := number[uint32](server, 32)
		config.ISN = &[2]uint32{c, s}
		return errors.Join(err1, err2)
	case "mss":
		return set(&config.MSS, value, 17)
	case "win":
		return set(&config.Window, value, 16)
	case "if":
		return set(&config.Interface, value, 16)
	}
	return fmt.Errorf("conn does not take %q", t.text())
}

func (t token) text() string {
	if t.isData {
		return strconv.Quote(string(t.payload))
	}
	return t.word
}

type integer interface {
	int | int64 | uint16 | uint32
}

// number parses an integer that is not negative and fits bits.
func number[T integer](text string, bits int) (T, error) {
	n, err := strconv.ParseUint(text, 0, bits)
	return T(n), err
}

func set[T integer](to *T, text string, bits int) (err error) {
	*to, err = number[T](text, bits)
	return err
}

func setNew[T integer](to **T, text string, bits int) error {
	*to = new(T)
	return set(*to, text, bits)
}

// action reads what follows a connection's name.
func (p *parser) action(c *Conn, verb string, args []token) error {
	word := func(w string) []token { return append([]token{{word: w}}, args...) }
	switch verb {
	case ">":
		return p.packet(c, Client, args)
	case "<":
		return p.packet(c, Server, args)
	case "syn", "ack":
		return p.packet(c, Client, word(verb))
	case "synack":
		return p.packet(c, Server, append(word("syn"), token{word: "ack"}))
	case "handshake":
		rtt, err := rtt(args)
		if err != nil {
			return err
		}
		c.Handshake(p.now, rtt)
		p.now += rtt
		return nil
	}
	return fmt.Errorf("unknown word %q", verb)
}

// rtt reads the only argument of handshake and close.
func rtt(args []token) (time.Duration, error) {
	if len(args) == 0 {
		return time.Millisecond, nil
	}
	value, ok := strings.CutPrefix(args[0].word, "rtt=")
	if !ok || len(args) > 1 {
		return 0, fmt.Errorf("unknown word %q", args[len(args)-1].text())
	}
	return time.ParseDuration(value)
}

// packet reads what follows > or <.
func (p *parser) packet(c *Conn, from Side, args []token) error {
	if len(args) == 0 {
		return errors.New("nothing is sent")
	}
	switch args[0].word {
	case "gap":
		if len(args) != 2 {
			return errors.New("gap takes a number of bytes")
		}
		n, err := number[int64](args[1].word, 40)
		c.Gap(from, n)
		return err
	case "dup":
		c.Repeat(p.now, from)
		return none(args[1:])
	case "probe":
		if len(args) == 2 && args[1].isData {
			c.Probe(p.now, from, args[1].payload)
			return nil
		}
		c.Probe(p.now, from, nil)
		return none(args[1:])
	case "close":
		rtt, err := rtt(args[1:])
		if err != nil {
			return err
		}
		c.Close(p.now, from, rtt)
		p.now += rtt
		return nil
	}
	m := Message{At: p.now, From: from}
	for _, t := range args {
		if err := item(&m, t); err != nil {
			return err
		}
	}
	c.Send(m)
	return nil
}

func none(args []token) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown word %q", args[0].text())
	}
	return nil
}

var flagWords = map[string]sniffer.Flags{
	"fin": sniffer.FIN, "syn": sniffer.SYN, "rst": sniffer.RST,
	"psh": sniffer.PSH, "ack": sniffer.ACK, "urg": sniffer.URG,
}

// item reads one item of a message.
func item(m *Message, t token) error {
	if t.isData {
		m.Payload = append(m.Payload, t.payload...)
		return nil
	}
	if flag, ok := flagWords[t.word]; ok {
		m.Flags |= flag
		return nil
	}
	key, value, _ := strings.Cut(t.word, "=")
	switch key {
	case "noack":
		m.NoAck = true
		return none([]token{t}[:min(1, len(value))])
	case "seq", "ack":
		n, err := strconv.ParseInt(value, 0, 64)
		if key == "seq" {
			m.Seq = &n
		} else {
			m.Ack = &n
		}
		return err
	case "win":
		return setNew(&m.Window, value, 16)
	case "if":
		return setNew(&m.Interface, value, 16)
	case "cap":
		return setNew(&m.Captured, value, 31)
	case "mss":
		return set(&m.MSS, value, 17)
	}
	return fmt.Errorf("unknown word %q", t.word)
}

// tokens splits a line.
func tokens(line string) ([]token, error) {
	var out []token
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			return out, nil
		}
		var t token
		var err error
		if t, line, err = next(line); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
}

// next takes one token off a line.
func next(line string) (token, string, error) {
	if line[0] != '"' && line[0] != '`' {
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		digits, ok := strings.CutPrefix(line[:end], "hex:")
		if !ok {
			return token{word: line[:end]}, line[end:], nil
		}
		payload, err := hex.DecodeString(digits)
		return token{payload: payload, isData: true}, line[end:], err
	}
	quoted, err := strconv.QuotedPrefix(line)
	if err != nil {
		return token{}, "", fmt.Errorf("no string literal: %s", line)
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return token{}, "", fmt.Errorf("no string literal: %s", quoted)
	}
	t, line := token{payload: []byte(text), isData: true}, line[len(quoted):]
	if !strings.HasPrefix(line, "*") {
		return t, line, afterLiteral(line)
	}
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	n, err := number[int](line[1:end], 31)
	if err != nil || n*len(text) > maxRepeated {
		return token{}, "", fmt.Errorf("repetition %s", line[:end])
	}
	t.payload = bytes.Repeat(t.payload, n)
	return t, line[end:], nil
}

func afterLiteral(line string) error {
	if line != "" && line[0] != ' ' && line[0] != '\t' {
		return fmt.Errorf("no space before %q", line)
	}
	return nil
}
