package protection

// Versions, as on the wire.
const (
	version10 = 0x0301
	version11 = 0x0302
	version12 = 0x0303
	version13 = 0x0304
)

// A mode is how records are protected.
type mode uint8

const (
	gcm mode = iota + 1
	chacha
	ccm
	cbc
)

// A Suite is what a cipher suite means for records. The zero value is one that
// is not known.
type Suite struct {
	mode mode
	key  uint8 // bytes of the cipher's key
	tag  uint8 // AEAD: bytes of the tag
	Hash Hash  // of the key schedule
	mac  Hash  // CBC: of the records
}

var (
	aes128gcm       = Suite{mode: gcm, key: 16, tag: 16, Hash: SHA256}
	aes256gcm       = Suite{mode: gcm, key: 32, tag: 16, Hash: SHA384}
	chachaPoly      = Suite{mode: chacha, key: 32, tag: 16, Hash: SHA256}
	aes128ccm       = Suite{mode: ccm, key: 16, tag: 16, Hash: SHA256}
	aes256ccm       = Suite{mode: ccm, key: 32, tag: 16, Hash: SHA256}
	aes128ccm8      = Suite{mode: ccm, key: 16, tag: 8, Hash: SHA256}
	aes256ccm8      = Suite{mode: ccm, key: 32, tag: 8, Hash: SHA256}
	aes128cbcSHA    = Suite{mode: cbc, key: 16, Hash: SHA256, mac: SHA1}
	aes256cbcSHA    = Suite{mode: cbc, key: 32, Hash: SHA256, mac: SHA1}
	aes128cbcSHA256 = Suite{mode: cbc, key: 16, Hash: SHA256, mac: SHA256}
	aes256cbcSHA256 = Suite{mode: cbc, key: 32, Hash: SHA256, mac: SHA256}
	aes256cbcSHA384 = Suite{mode: cbc, key: 32, Hash: SHA384, mac: SHA384}
)

// Known reports whether records of the suite can be opened.
func (s Suite) Known() bool { return s.mode != 0 }

// SuiteOf returns what a cipher suite of the IANA registry means in a version;
// the zero Suite where records cannot be opened.
func SuiteOf(id, version uint16) Suite {
	var s Suite
	if version >= version13 {
		s = suite13(id)
	} else {
		s = suite12(id)
	}
	if s.mode != cbc && version < version12 || s.mac == SHA256 && s.mode == cbc && version < version12 ||
		s.mac == SHA384 && s.mode == cbc && version < version12 && !pskSHA384(id) {
		return Suite{}
	}
	return s
}

// pskSHA384 are the suites of RFC 5487 and RFC 5489, which may be used before TLS 1.2 too.
func pskSHA384(id uint16) bool {
	switch id {
	case 0x00af, 0x00b3, 0x00b7, 0xc038:
		return true
	}
	return false
}

// suite13 knows the suites of RFC 8446 §B.4.
func suite13(id uint16) Suite {
	switch id {
	case 0x1301:
		return aes128gcm
	case 0x1302:
		return aes256gcm
	case 0x1303:
		return chachaPoly
	case 0x1304:
		return aes128ccm
	case 0x1305:
		return aes128ccm8
	}
	return Suite{}
}

// suite12 knows the AES and ChaCha20 suites of the registry, whatever their key
// exchange.
func suite12(id uint16) Suite {
	switch id {
	case 0x009c, 0x009e, 0x00a0, 0x00a2, 0x00a4, 0x00a6, 0x00a8, 0x00aa, 0x00ac,
		0xc02b, 0xc02d, 0xc02f, 0xc031, 0xd001:
		return aes128gcm
	case 0x009d, 0x009f, 0x00a1, 0x00a3, 0x00a5, 0x00a7, 0x00a9, 0x00ab, 0x00ad,
		0xc02c, 0xc02e, 0xc030, 0xc032, 0xd002:
		return aes256gcm
	case 0xcca8, 0xcca9, 0xccaa, 0xccab, 0xccac, 0xccad, 0xccae:
		return chachaPoly
	case 0xc09c, 0xc09e, 0xc0a4, 0xc0a6, 0xc0ac, 0xd005:
		return aes128ccm
	case 0xc09d, 0xc09f, 0xc0a5, 0xc0a7, 0xc0ad:
		return aes256ccm
	case 0xc0a0, 0xc0a2, 0xc0a8, 0xc0aa, 0xc0ae, 0xd003:
		return aes128ccm8
	case 0xc0a1, 0xc0a3, 0xc0a9, 0xc0ab, 0xc0af:
		return aes256ccm8
	}
	return suiteCBC(id)
}

func suiteCBC(id uint16) Suite {
	switch id {
	case 0x002f, 0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x008c, 0x0090, 0x0094, 0xc004, 0xc009,
		0xc00e, 0xc013, 0xc018, 0xc01d, 0xc01e, 0xc01f, 0xc035:
		return aes128cbcSHA
	case 0x0035, 0x0036, 0x0037, 0x0038, 0x0039, 0x003a, 0x008d, 0x0091, 0x0095, 0xc005, 0xc00a,
		0xc00f, 0xc014, 0xc019, 0xc020, 0xc021, 0xc022, 0xc036:
		return aes256cbcSHA
	case 0x003c, 0x003e, 0x003f, 0x0040, 0x0067, 0x006c, 0x00ae, 0x00b2, 0x00b6, 0xc023, 0xc025,
		0xc027, 0xc029, 0xc037:
		return aes128cbcSHA256
	case 0x003d, 0x0068, 0x0069, 0x006a, 0x006b, 0x006d:
		return aes256cbcSHA256
	case 0x00af, 0x00b3, 0x00b7, 0xc024, 0xc026, 0xc028, 0xc02a, 0xc038:
		return aes256cbcSHA384
	}
	return Suite{}
}
