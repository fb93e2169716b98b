package capfile

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng §4, §11.1).
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
	blockSecrets    = 10
)

const (
	byteOrderMagic = 0x1a2b3c4d
	secretsTLS     = 0x544c534b // "TLSK": an NSS key log

	maxBlock      = 16 << 20
	maxInterfaces = 65536
	maxName       = 256

	packetHeader  = 28 // of a packet block, before the frame
	simpleHeader  = 12
	secretsHeader = 16
)

// Options by code (draft-ietf-opsawg-pcapng §3.5, §4.2, §4.6).
const (
	optionName       = 2
	optionResolution = 9
	optionOffset     = 14
	optionIfDrop     = 5
	optionOSDrop     = 7
)

// A sectionInterface is how the present section describes an interface.
type sectionInterface struct {
	clock
	number         uint32 // in File.interfaces
	snaplen        uint32
	link           sniffer.LinkType
	ifdrop, osdrop uint64 // as last reported
}

// A clock turns the timestamps of an interface into Unix nanoseconds.
type clock struct {
	offset   int64 // nanoseconds
	multiply uint64
	exponent uint8 // where multiply is 0: ticks of 10^-exponent, or 2^-exponent
	binary   bool
}

// An interfaceKey tells which interfaces of consecutive captures are the same.
type interfaceKey struct {
	index uint32
	link  sniffer.LinkType
	name  string
}

type pcapngState struct {
	section []sectionInterface
	known   map[interfaceKey]uint32
	last    int64 // time of the last frame, for blocks without one

	// A block that is not held whole is passed over: skip bytes, then the
	// length again, which must be trailer.
	// It began at byte began of the stream.
	skip, trailer uint32
	began         int64
	keep          uint32 // of skip, bytes that are secrets
	secrets       io.Writer
	midLine       bool // the last byte of secrets was no line end
	only          bool // frames are passed over
}

func isSection(p []byte) bool {
	if binary.LittleEndian.Uint32(p) != blockSection {
		return false
	}
	return u32(p[8:], false) == byteOrderMagic || u32(p[8:], true) == byteOrderMagic
}

// KeyLog has the TLS key logs of decryption secrets blocks written to w as they
// are met; each block's ends with a line end. Before it is called they are passed over. Nothing
// of them is kept, and an error of w is not told.
func (f *File) KeyLog(w io.Writer) { f.secrets = w }

// Secrets says whether the file's format has decryption secrets blocks, so that it is
// worth asking for them.
func (f *File) Secrets() bool { return f.ng }

// ReadKeyLog writes the TLS key logs of all decryption secrets blocks of the
// capture at path to w: they may stand behind the packets that they are for. An
// error is one of Open; where the file is damaged, what stands before is written.
func ReadKeyLog(path string, w io.Writer) error {
	f, err := Open(path)
	if err != nil {
		return err
	}
	f.KeyLog(w)
	f.only = true
	var b sniffer.Batch
	for f.ng && f.Read(&b) == nil {
	}
	clear(b.Buffer)
	return f.Close()
}

// midBlock says whether part of a block is still to be passed over.
func (f *File) midBlock() bool { return f.trailer != 0 }

// parseBlocks is parse for pcapng.
func (f *File) parseBlocks(b *sniffer.Batch, data []byte) (used int) {
	for len(b.Frames) < sniffer.BatchFrames && f.err == nil {
		rest := data[used:]
		if f.trailer != 0 {
			n := f.passOver(rest)
			used += n
			if f.trailer != 0 {
				return used
			}
			continue
		}
		if len(rest) < 12 {
			f.need = 12
			return used
		}
		kind := u32(rest, f.swap)
		if kind == blockSection && !f.byteOrder(rest, used) {
			return used
		}
		total := u32(rest[4:], f.swap)
		if total < 12 || total > maxBlock || total%4 != 0 {
			f.malformed(used, "block of %d bytes", total)
			return used
		}
		if total <= min(maxHeld, uint32(len(rest))) {
			if again := u32(rest[total-4:], f.swap); again != total {
				f.malformed(used, "block of %d bytes that ends with a length of %d", total, again)
				return used
			}
			f.block(b, kind, rest[:total-4], total, used)
			if f.err != nil {
				return used
			}
			used += int(total)
			continue
		}
		held := heldBytes(kind, total)
		if len(rest) < int(held) {
			f.need = int(held)
			return used
		}
		f.trailer, f.skip, f.began = total, total-4-held, f.offset+int64(used)
		f.block(b, kind, rest[:held], total, used)
		if f.err != nil {
			return used
		}
		used += int(held)
	}
	return used
}

// heldBytes says how much of a block that is not wholly in the buffer has to
// be there at once.
func heldBytes(kind, total uint32) uint32 {
	var held uint32
	switch kind {
	case blockSection, blockInterface, blockPacket, blockSimple, blockStatistics, blockEnhanced:
		held = maxHeld - 4
		if total <= maxHeld {
			return total
		}
	case blockSecrets:
		held = secretsHeader
	default:
		held = 8
	}
	return min(held, total-4)
}

// passOver consumes bytes of a block that is not of interest.
func (f *File) passOver(rest []byte) int {
	n := min(f.skip, uint32(len(rest)))
	if f.keep > 0 {
		kept := min(f.keep, n)
		f.addSecrets(rest[:kept])
		if f.keep -= kept; f.keep == 0 {
			f.endSecrets()
		}
	}
	f.skip -= n
	rest = rest[n:]
	if f.skip > 0 || len(rest) < 4 {
		f.need = 4
		return int(n)
	}
	if again := u32(rest, f.swap); again != f.trailer {
		f.malformed(int(f.began-f.offset), "block of %d bytes that ends with a length of %d", f.trailer, again)
	}
	f.trailer = 0
	return int(n) + 4
}

// byteOrder takes the byte order of the section that begins.
func (f *File) byteOrder(rest []byte, at int) bool {
	switch {
	case u32(rest[8:], false) == byteOrderMagic:
		f.swap = false
	case u32(rest[8:], true) == byteOrderMagic:
		f.swap = true
	default:
		f.malformed(at, "section of unknown byte order")
		return false
	}
	return true
}

// block takes one block: p is what is held of it, without the trailing length,
// and total its length.
func (f *File) block(b *sniffer.Batch, kind uint32, p []byte, total uint32, at int) {
	switch kind {
	case blockEnhanced, blockPacket, blockSimple:
		if f.only {
			return
		}
	}
	switch kind {
	case blockEnhanced, blockPacket:
		f.packet(b, kind, p, at)
	case blockSimple:
		f.simplePacket(b, p, total, at)
	case blockInterface:
		f.describe(p, at)
	case blockSection:
		f.beginSection(p, at)
	case blockStatistics:
		f.statistics(p)
	case blockSecrets:
		f.secretsBlock(p, total)
	}
}

func (f *File) packet(b *sniffer.Batch, kind uint32, p []byte, at int) {
	if len(p) < packetHeader {
		f.malformed(at, "packet block of %d bytes", len(p)+4)
		return
	}
	index := u32(p[8:], f.swap)
	if kind == blockPacket {
		index = uint32(u16(p[8:], f.swap))
	}
	if uint64(index) >= uint64(len(f.section)) {
		f.malformed(at, "packet of interface %d where there are %d", index, len(f.section))
		return
	}
	captured := u32(p[20:], f.swap)
	if captured > maxFrame || int(captured) > len(p)-packetHeader {
		f.malformed(at, "packet of %d bytes in a block with room for %d", captured, min(len(p)-packetHeader, maxFrame))
		return
	}
	iface := &f.section[index]
	ticks := uint64(u32(p[12:], f.swap))<<32 | uint64(u32(p[16:], f.swap))
	if iface.multiply != 0 {
		f.last = int64(ticks*iface.multiply) + iface.offset
	} else {
		f.last = iface.nanoseconds(ticks)
	}
	end := packetHeader + int(captured)
	f.frame(b, iface, p[packetHeader:end:end], u32(p[24:], f.swap))
}

// simplePacket takes a Simple Packet Block: interface 0, no time of its own.
func (f *File) simplePacket(b *sniffer.Batch, p []byte, total uint32, at int) {
	if len(f.section) == 0 {
		f.malformed(at, "packet of interface 0 where there are none")
		return
	}
	if len(p) < simpleHeader {
		f.malformed(at, "packet block of %d bytes", total)
		return
	}
	iface := &f.section[0]
	length := u32(p[8:], f.swap)
	captured := length
	if iface.snaplen != 0 {
		captured = min(captured, iface.snaplen)
	}
	if captured > maxFrame || captured > total-4-simpleHeader {
		f.malformed(at, "packet of %d bytes in a block with room for %d", captured, min(total-4-simpleHeader, maxFrame))
		return
	}
	end := simpleHeader + int(captured)
	f.frame(b, iface, p[simpleHeader:end:end], length)
}

func (f *File) frame(b *sniffer.Batch, iface *sectionInterface, data []byte, length uint32) {
	b.Frames = b.Frames[:len(b.Frames)+1]
	frame := &b.Frames[len(b.Frames)-1]
	frame.Time = f.last
	frame.Data = data
	frame.Length = max(length, uint32(len(data)))
	frame.Interface = iface.number
	frame.Link = iface.link
}

func (f *File) beginSection(p []byte, at int) {
	if len(p) < 24 {
		f.malformed(at, "section header of %d bytes", len(p)+4)
		return
	}
	if major := u16(p[12:], f.swap); major != 1 {
		f.malformed(at, "section of version %d.%d", major, u16(p[14:], f.swap))
		return
	}
	f.section = f.section[:0]
}

// describe takes an Interface Description Block. An interface of an earlier
// section with the same place, name and link type keeps its number: a rotated
// capture that was put together again has flows that go on in the next section.
func (f *File) describe(p []byte, at int) {
	if len(p) < 16 {
		f.malformed(at, "interface description of %d bytes", len(p)+4)
		return
	}
	if len(f.section) >= maxInterfaces {
		f.malformed(at, "more than %d interfaces", maxInterfaces)
		return
	}
	iface := sectionInterface{link: sniffer.LinkType(u16(p[8:], f.swap)), snaplen: u32(p[12:], f.swap)}
	name, resolution, offset := "", byte(6), int64(0)
	f.options(p[16:], func(code uint16, value []byte) {
		switch {
		case code == optionName:
			name = printable.Text(strings.TrimRight(string(value[:min(len(value), maxName)]), "\x00"))
		case code == optionResolution && len(value) >= 1:
			resolution = value[0]
		case code == optionOffset && len(value) >= 8:
			offset = int64(u64(value, f.swap))
		}
	})
	iface.clock = newClock(resolution, offset)
	key := interfaceKey{uint32(len(f.section)), iface.link, name}
	number, ok := f.known[key]
	if !ok {
		if len(f.interfaces) >= maxInterfaces {
			f.malformed(at, "more than %d interfaces", maxInterfaces)
			return
		}
		number = uint32(len(f.interfaces))
		if f.known == nil {
			f.known = make(map[interfaceKey]uint32)
		}
		f.known[key] = number
		f.interfaces = append(f.interfaces, Interface{
			File: f.name, Name: name, Link: iface.link, Snaplen: iface.snaplen, Resolution: tick(resolution),
		})
	}
	iface.number = number
	f.section = append(f.section, iface)
}

// statistics takes an Interface Statistics Block. Its counts are since the
// capture began, so a later one replaces an earlier one of the same section.
func (f *File) statistics(p []byte) {
	if len(p) < 20 {
		return
	}
	index := u32(p[8:], f.swap)
	if uint64(index) >= uint64(len(f.section)) {
		return // the figures of an interface without packets
	}
	iface := &f.section[index]
	total := &f.interfaces[iface.number]
	f.options(p[20:], func(code uint16, value []byte) {
		if len(value) < 8 {
			return
		}
		switch count := u64(value, f.swap); code {
		case optionIfDrop:
			total.InterfaceDrops += count - iface.ifdrop
			iface.ifdrop = count
		case optionOSDrop:
			total.SystemDrops += count - iface.osdrop
			iface.osdrop = count
		}
	})
}

// options calls do for each option in p. A list that is cut or lies about a
// length ends there: options add to a block that can be read without them.
func (f *File) options(p []byte, do func(code uint16, value []byte)) {
	for len(p) >= 4 {
		code, length := u16(p, f.swap), int(u16(p[2:], f.swap))
		p = p[4:]
		if code == 0 || length > len(p) {
			return
		}
		do(code, p[:length])
		p = p[min((length+3)&^3, len(p)):]
	}
}

// secretsBlock begins a Decryption Secrets Block.
func (f *File) secretsBlock(p []byte, total uint32) {
	if f.secrets == nil || len(p) < secretsHeader || u32(p[8:], f.swap) != secretsTLS {
		return
	}
	length := min(u32(p[12:], f.swap), total-4-secretsHeader)
	if f.trailer == 0 { // wholly here
		f.addSecrets(p[secretsHeader:][:length])
		f.endSecrets()
		return
	}
	f.keep = length
}

func (f *File) addSecrets(p []byte) {
	if len(p) > 0 {
		f.midLine = p[len(p)-1] != '\n'
		_, _ = f.secrets.Write(p)
	}
}

// endSecrets ends the last line, which the block's end ended.
func (f *File) endSecrets() {
	if f.midLine {
		_, _ = f.secrets.Write([]byte{'\n'})
		f.midLine = false
	}
}

// newClock takes if_tsresol and if_tsoffset (draft-ietf-opsawg-pcapng §4.2).
func newClock(resolution byte, offset int64) clock {
	c := clock{offset: offset * int64(time.Second), exponent: resolution & 0x7f, binary: resolution&0x80 != 0}
	if !c.binary && c.exponent <= 9 {
		c.multiply = power10(9 - c.exponent)
	}
	return c
}

// nanoseconds is for clocks whose ticks are no whole number of nanoseconds.
func (c *clock) nanoseconds(ticks uint64) int64 {
	if !c.binary {
		return int64(ticks/power10(c.exponent-9)) + c.offset
	}
	var seconds uint64
	fraction := ticks
	if c.exponent < 64 {
		seconds = ticks >> c.exponent
		fraction = ticks & (1<<c.exponent - 1)
	}
	high, low := bits.Mul64(fraction, uint64(time.Second))
	if c.exponent >= 64 {
		low = high >> (c.exponent - 64)
	} else {
		low = high<<(64-c.exponent) | low>>c.exponent
	}
	return int64(seconds*uint64(time.Second)+low) + c.offset
}

// tick returns the length of a tick, 0 where it is shorter than 1 ns.
func tick(resolution byte) time.Duration {
	exponent := resolution & 0x7f
	if resolution&0x80 != 0 {
		return time.Duration(uint64(time.Second) >> exponent)
	}
	return time.Duration(uint64(time.Second) / power10(exponent))
}

func power10(exponent byte) uint64 {
	if exponent > 19 {
		return math.MaxUint64 // beyond what a timestamp can hold
	}
	power := uint64(1)
	for range exponent {
		power *= 10
	}
	return power
}
