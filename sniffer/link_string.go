package sniffer

import "strconv"

// String returns the link type's name as the capture file formats list it, in
// lower case without LINKTYPE_; a number where it is not decoded.
func (l LinkType) String() string {
	switch l {
	case LinkNull:
		return "null"
	case LinkEthernet:
		return "ethernet"
	case LinkPPP:
		return "ppp"
	case LinkRaw, LinkRawBSD, LinkRawOBSD:
		return "raw"
	case LinkPPPSerial:
		return "ppp_hdlc"
	case LinkPPPEther:
		return "ppp_ether"
	case LinkCHDLC:
		return "c_hdlc"
	case LinkLoop:
		return "loop"
	case LinkSLL:
		return "linux_sll"
	case LinkIPv4:
		return "ipv4"
	case LinkIPv6:
		return "ipv6"
	case LinkSLL2:
		return "linux_sll2"
	}
	return strconv.Itoa(int(l))
}
