package sniffer

// A layer is how decoding goes on behind a number.
type layer uint8

const (
	noLayer layer = iota
	layerIPv4
	layerIPv6
	layerEthernet
	layerVLAN
	layerMPLS
	layerPPPoE
	layerPPP
	layerTCP
	layerUDP
	layerExtension // an IPv6 extension header of the common form
	layerFragment
	layerAH
	layerGRE
	layerEtherIP
	layerL2TPv3
	layerDNS
	layerL2TP
	layerGTP
	layerGREInUDP
	layerVXLAN
	layerVXLANGPE
	layerGeneve
	layerMPLSInUDP
)

// What is decoded, and what DecoderConfig.Filter lets pass, is one and the same
// by the three tables below.

type etherType struct {
	number uint16
	layer  layer
}

// etherTypes is searched from its beginning, so the usual ones are first.
var etherTypes = [...]etherType{
	{typeIPv4, layerIPv4},
	{typeIPv6, layerIPv6},
	{typeVLAN, layerVLAN},
	{typeQinQ, layerVLAN},
	{typeQinQOld, layerVLAN},
	{typeQinQOlder, layerVLAN},
	{typeMPLS, layerMPLS},
	{typeMPLSMulti, layerMPLS},
	{typePPPoE, layerPPPoE},
	{typePPP, layerPPP},
	{typeBridged, layerEthernet},
}

// ipProtocols are the protocols of IP (RFC 5237), IPv6 extension headers
// included.
var ipProtocols = [256]layer{
	0:   layerExtension, // hop by hop
	4:   layerIPv4,
	6:   layerTCP,
	17:  layerUDP,
	41:  layerIPv6,
	43:  layerExtension, // routing
	44:  layerFragment,
	47:  layerGRE,
	51:  layerAH,
	60:  layerExtension, // destination options
	97:  layerEtherIP,
	115: layerL2TPv3,
	135: layerExtension, // mobility
	137: layerMPLS,
	139: layerExtension, // host identity
	140: layerExtension, // shim6
}

type udpPort struct {
	number uint16
	layer  layer
	// both says that datagrams from the port are of the kind, too. Of the other
	// tunnels the source port is only entropy.
	both bool
}

// udpPorts are few enough to be searched from the beginning.
var udpPorts = [...]udpPort{
	{portDNS, layerDNS, true},
	{portVXLAN, layerVXLAN, false},
	{portVXLANOld, layerVXLAN, false},
	{portGeneve, layerGeneve, false},
	{portGTP, layerGTP, false},
	{portL2TP, layerL2TP, true},
	{portVXLANGPE, layerVXLANGPE, false},
	{portGRE, layerGREInUDP, false},
	{portMPLS, layerMPLSInUDP, false},
}

// The UDP ports that mean something here.
const (
	portDNS      = 53
	portL2TP     = 1701 // RFC 2661 §8.1
	portGTP      = 2152 // 3GPP TS 29.281 §4.4.2.3
	portGRE      = 4754 // RFC 8086 §7
	portVXLAN    = 4789 // RFC 7348 §8
	portVXLANGPE = 4790 // draft-ietf-nvo3-vxlan-gpe §6.1
	portGeneve   = 6081 // RFC 8926 §5
	portMPLS     = 6635 // RFC 7510 §6
	portVXLANOld = 8472 // what Linux used before RFC 7348, and flannel and Cilium still do
)

// The IP protocols that the code names.
const (
	protoUDP      = 17
	protoFragment = 44
	protoL2TP     = 115
)

// udpLayer says how datagrams between the ports are decoded.
func (d *Decoder) udpLayer(src, dst uint16) layer {
	for i := range udpPorts {
		u := &udpPorts[i]
		if dst != u.number && (!u.both || src != u.number) {
			continue
		}
		if d.config.decodes(u.layer) {
			return u.layer
		}
		return noLayer
	}
	return noLayer
}

// decodes says whether the config asks for what is on a UDP port.
func (c *DecoderConfig) decodes(l layer) bool {
	if l == layerDNS {
		return c.DNS
	}
	return !c.NoTunnels
}
