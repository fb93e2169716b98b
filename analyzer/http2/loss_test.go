package http2

import (
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/http"
)

const (
	lostC = "lost client 0"
	lostS = "lost server 0"
)

var hello = cl(Preface+noSettings+headsEnd(1, get), "settings client, "+asked1)

// lossCases are conversations of which bytes are missing, or that were joined late.
var lossCases = []wireCase{
	{"gap of nothing", Prior, []step{hello, clGap(-1, ""), sv(headsEnd(1, ok), answered1)}},
	{"gap inside DATA", Prior, []step{
		hello, sv(heads(1, ok)+dataEnd(1, "0123456789")[:12], "response 1 200"), svGap(5, ""), sv("89"+frame(pingFrame, 0, 0, "12345678"), "end 1 server, ping server"),
	}},
	{"gap to the end of DATA", Prior, []step{
		hello, sv(heads(1, ok)+dataEnd(1, "0123456789")[:12], "response 1 200"), svGap(7, "end 1 server"), sv(frame(pingFrame, 0, 0, "12345678"), "ping server"),
	}},
	{"gap beyond DATA", Prior, []step{
		hello, sv(heads(1, ok)+dataEnd(1, "0123456789")[:12], "response 1 200"), svGap(8, "end 1 server, "+lostS),
		sv("garbage", ""), svGap(3, ""), sv(frame(pingFrame, 0, 0, "12345678"), "ping server"),
	}},
	{"gap inside PING", Prior, []step{hello, cl(frame(pingFrame, 0, 0, "12345678")[:10], ""), clGap(7, "ping client")}},
	{"gap between frames", Prior, []step{
		hello, svGap(1, lostS), svGap(1, ""), sv("x", ""), sv(headsEnd(1, ok), answered1),
	}},
	{"gap in the preface", Prior, []step{cl(Preface[:3], ""), clGap(24-3, lostC), cl(noSettings+headsEnd(1, get), "settings client, "+asked1)}},
	{"gap in a frame's head", Prior, []step{hello, cl(headsEnd(3, get)[:4], ""), clGap(6, lostC), cl(headsEnd(5, get), asked5)}},
	{"gap in SETTINGS", Prior, []step{
		hello, sv(frame(settingsFrame, 0, 0, setting(3, 1)+setting(4, 1))[:12], ""), svGap(4, lostS), sv("xxxxx", ""), sv(headsEnd(1, ok), answered1),
	}},
	{"gap in RST_STREAM", Prior, []step{hello, cl(rst(1, http.Cancel)[:10], ""), clGap(3, lostC), cl(headsEnd(3, get), asked3)}},
	{"gap in the text of GOAWAY", Prior, []step{
		sv(frame(goawayFrame, 0, 0, be32(3)+be32(0)+"text")[:18], "goaway server 3 NO_ERROR"), svGap(3, ""), sv(noSettings, "settings server"),
	}},
	{"gap in a header block", Prior, []step{
		hello, cl(headsEnd(3, get+hostA+fields("a", "b"))[:14], ""), clGap(3, lostC),
		cl("b", "begin 3, request 3 GET host=a partial, end 3 client"),
		cl(headsEnd(5, get+"\xbe"), "begin 5, request 5 GET partial, end 5 client"),
		cl(headsEnd(7, get), asked7),
	}},
	{"gap over the rest of a header block", Prior, []step{
		hello, cl(headsEnd(3, get+hostA)[:10], ""), clGap(3, lostC+", begin 3, request 3 GET partial, end 3 client"), cl(headsEnd(5, get), asked5),
	}},
	{"gap beyond a header block", Prior, []step{
		hello, cl(headsEnd(3, get+hostA)[:10], ""), clGap(4, "begin 3, request 3 GET partial, end 3 client, "+lostC), cl(headsEnd(5, get), asked5),
		sv(headsEnd(3, ok), answered3),
	}},
	{"gap in padding", Prior, []step{
		hello, cl(frame(headersFrame, flagPadded|flagPriority|flagEndHeaders, 3, "\x0212345"+get+"\x00\x00")[:16], ""), clGap(1, lostC),
		cl("\x00", "begin 3, request 3 GET partial"),
		cl(frame(headersFrame, flagPadded|flagPriority|flagEndHeaders, 5, "\x0212345"+get+"\x00\x00")[:12], ""), clGap(5, lostC),
		cl("\x00", "begin 5, request 5 OTHER partial"),
	}},
	{"gap in CONTINUATION", Prior, []step{
		hello, cl(frame(headersFrame, flagEndStream|flagPriority, 3, "12345"+get)+frame(continuationFrame, 0, 3, hostA+get)[:12], ""), clGap(1, lostC),
		cl(frame(continuationFrame, flagEndHeaders, 3, get), "begin 3, request 3 GET host=a partial, end 3 client"),
	}},
	{"gap between HEADERS and CONTINUATION", Prior, []step{
		hello, cl(frame(headersFrame, flagEndStream, 3, get), ""), clGap(10, lostC), cl(headsEnd(5, get), asked5),
		sv(headsEnd(3, ok), "lost client 1, "+answered3),
	}},

	// Requests whose heads were lost.
	{"answered after the next request", Prior, []step{
		hello, clGap(20, lostC), cl(headsEnd(7, get), asked7), sv(headsEnd(3, ok), "lost client 1, "+answered3),
		sv(rst(3, http.NoError)+headsEnd(7, ok)+headsEnd(1, ok), answered7+", "+answered1), closing(""),
	}},
	{"answered before the next request", Prior, []step{
		hello, clGap(20, lostC), sv(headsEnd(3, ok)+headsEnd(5, ok), answered3+", "+answered5), cl(headsEnd(7, get), "lost client 2, "+asked7),
		sv(rst(3, http.NoError)+rst(3, http.NoError)+dataEnd(5, "")+dataEnd(5, ""), ""), closing(""),
	}},
	{"answered before the gap is known", Prior, []step{
		hello, sv(headsEnd(3, ok), answered3), clGap(20, lostC), cl(headsEnd(5, get), "lost client 1, "+asked5), closing(""),
	}},
	{"answered before the request comes, nothing lost", Prior, []step{
		hello, sv(heads(3, ok), "response 3 200"), cl(headsEnd(3, get), asked3), sv(dataEnd(3, ""), "end 3 server"), cl(headsEnd(5, get), asked5),
	}},
	{"answered before the request comes, after a gap", Prior, []step{
		hello, clGap(20, lostC), sv(headsEnd(3, ok), answered3), cl(headsEnd(3, get), asked3), closing(""),
	}},
	{"answered, and no request comes", Prior, []step{hello, clGap(20, lostC), sv(headsEnd(3, ok), answered3), closing("lost client 1")}},
	{"answered and nothing lost, and no request comes", Prior, []step{hello, sv(headsEnd(3, ok), answered3), closing("")}},
	{"reset by the server", Prior, []step{
		hello, clGap(20, lostC), cl(headsEnd(7, get), asked7), sv(rst(3, http.RefusedStream)+rst(3, http.RefusedStream), "lost client 1, reset 3 server REFUSED_STREAM"),
		sv(rst(5, http.RefusedStream), "lost client 1, reset 5 server REFUSED_STREAM"),
	}},
	{"reset by the server before the next request", Prior, []step{
		hello, clGap(20, lostC), sv(rst(3, http.RefusedStream)+rst(3, http.RefusedStream), "reset 3 server REFUSED_STREAM"),
		cl(headsEnd(7, get), "lost client 1, "+asked7), sv(rst(3, http.NoError), ""),
	}},
	{"known by its body", Prior, []step{
		hello, clGap(20, lostC), cl(data(3, "x")+dataEnd(3, "y"), "end 3 client"), cl(headsEnd(5, get), "lost client 1, "+asked5), sv(headsEnd(3, ok), answered3),
	}},
	{"known by its trailers", Prior, []step{
		hello, clGap(20, lostC), cl(headsEnd(3, fields("checksum", "1")), "end 3 client"), cl(headsEnd(5, get), "lost client 1, "+asked5),
	}},
	{"nothing says that they were lost", Prior, []step{
		hello, clGap(20, lostC), cl(headsEnd(101, get), "begin 101, request 101 GET, end 101 client"), cl(rst(3, http.Cancel), ""), closing(""),
	}},
	{"several losses", Prior, []step{
		hello, clGap(20, lostC), cl(headsEnd(5, get), asked5), clGap(20, lostC), cl(headsEnd(11, get), "begin 11, request 11 GET, end 11 client"),
		sv(headsEnd(3, ok)+headsEnd(7, ok)+headsEnd(5, ok), "lost client 1, "+answered3+", lost client 1, "+answered7+", "+answered5),
	}},

	// Tables after a loss.
	{"table of the client, after a loss", Prior, []step{
		cl(Preface+headsEnd(1, get+hostA), "begin 1, request 1 GET host=a, end 1 client"), clGap(1, lostC),
		cl(headsEnd(3, get+"\xbe"), "begin 3, request 3 GET partial, end 3 client"),
		cl(headsEnd(5, "\xbf"), "begin 5, request 5 OTHER partial, end 5 client"),
		cl(headsEnd(7, get+"\x7e\x01x"), "begin 7, request 7 GET partial, end 7 client"),
		cl(headsEnd(9, "\x20\x3f\xe1\x1f"+get+hostA), "begin 9, request 9 GET host=a, end 9 client"),
		cl(headsEnd(11, get+"\xbe"), "begin 11, request 11 GET host=a, end 11 client"),
	}},
	{"table of the server, after a loss", Prior, []step{
		hello, svGap(1, lostS), sv(headsEnd(1, "\xbe\xbf"), "response 1 0 partial, end 1 server"), sv(headsEnd(1, ok), ""),
	}},
	{"an unknown status, and trailers", Prior, []step{
		hello, svGap(1, lostS), sv(heads(1, "\xbe"), "response 1 0 partial"), sv(headsEnd(1, "\xbf"), "end 1 server"),
	}},
	{"an unknown status, and a known one", Prior, []step{
		hello, svGap(1, lostS), sv(heads(1, "\xbe"), "response 1 0 partial"), sv(headsEnd(1, ok), answered1),
	}},
	{"unknown trailers, after a body", Prior, []step{
		hello, svGap(1, lostS), sv(data(1, "x")+headsEnd(1, "\xbf"), "end 1 server"),
	}},
	{"a lost table that is resized only", Prior, []step{
		hello, clGap(1, lostC), cl(headsEnd(3, "\x3f\x01"+get+"\xbe"), "begin 3, request 3 GET partial, end 3 client"),
	}},

	// Resynchronisation.
	{"an empty end, alone", Prior, []step{
		hello, sv(heads(1, ok), "response 1 200"), svGap(9, lostS), sv(dataEnd(3, ""), ""), sv(dataEnd(1, ""), "end 1 server"),
	}},
	{"body that looks like nothing", Prior, []step{
		hello, sv(heads(1, ok), "response 1 200"), svGap(9, lostS), sv(strings.Repeat("x", 1460), ""), sv(strings.Repeat("\x00", 1460), ""), sv(dataEnd(1, "x"), "end 1 server"),
	}},
	{"a preface again", Prior, []step{hello, clGap(1, lostC), cl(Preface[:20], ""), cl(Preface[20:]+headsEnd(3, get), asked3)}},

	{"midstream", Midstream, []step{
		sv("some body", ""), sv(headsEnd(99, ok+"\xbe"), "response 99 200 partial, end 99 server"),
		cl("garbage", ""), cl(headsEnd(101, get+"\xbe"), "begin 101, request 101 GET partial, end 101 client"),
		sv(headsEnd(97, ok)+headsEnd(101, ok), "response 97 200, end 97 server, response 101 200, end 101 server"),
		cl(headsEnd(103, get), "begin 103, request 103 GET, end 103 client"), closing(""),
	}},
	{"midstream, bytes lost before anything", Midstream, []step{
		clGap(9, ""), sv(headsEnd(99, ok), "response 99 200, end 99 server"), cl(headsEnd(101, get), "begin 101, request 101 GET, end 101 client"), closing(""),
	}},
	{"midstream, a request's body", Midstream, []step{
		cl(data(99, "x"), ""), cl(dataEnd(99, "x"), "end 99 client"), sv(headsEnd(99, ok), "response 99 200, end 99 server"),
		cl(headsEnd(101, get), "begin 101, request 101 GET, end 101 client"), sv(headsEnd(101, ok), "response 101 200, end 101 server"),
	}},
	{"midstream, a loss", Midstream, []step{
		cl(headsEnd(101, get), "begin 101, request 101 GET, end 101 client"), clGap(9, lostC),
		cl(headsEnd(105, get), "begin 105, request 105 GET, end 105 client"), sv(headsEnd(103, ok), "lost client 1, response 103 200, end 103 server"),
	}},
	{"midstream, DATA longer than the default", Midstream, []step{
		cl(headsEnd(1, get), asked1), sv(heads(1, ok), "response 1 200"), sv(dataEnd(1, strings.Repeat("x", minLimit+1)), "end 1 server"),
		cl(noSettings+headsEnd(3, get), "settings client, "+asked3), sv(data(3, strings.Repeat("x", minLimit+1)), lostS),
	}},
	{"midstream, other frames longer than the default", Midstream, []step{
		sv(noSettings+ok+frame(0xfa, 0, 0, "x"), ""), sv(noSettings+frame(pingFrame, 0, 0, "12345678"), "settings server, ping server"),
		sv(frame(0xfa, 0, 0, strings.Repeat("x", minLimit+1)), lostS),
	}},
}

func TestLoss(t *testing.T) {
	for _, w := range lossCases {
		t.Run(w.name, func(t *testing.T) { w.run(t) })
	}
}

// TestManyLosses holds that what is remembered of requests whose heads were lost is forgotten.
func TestManyLosses(t *testing.T) {
	q, k := new(Pool), new(counter)
	c := openConn(q, k)
	const n = 200
	for i := range uint32(n) {
		id := 4*i + 3
		c.Gap(http.Client, 20, 0)
		c.Data(http.Client, []byte(headsEnd(id+2, get)), 0)
		c.Data(http.Server, []byte(headsEnd(id, ok)+headsEnd(id+2, ok)), 0)
	}
	if k.requests != n || k.responses != 2*n || k.lost != 3*n {
		t.Errorf("%+v", k)
	}
	if c.Open() > len(c.spans) {
		t.Errorf("%d streams are followed", c.Open())
	}
}

func TestInSync(t *testing.T) {
	var c Conn
	c.Reset(new(Pool), new(recorder), Midstream)
	if c.InSync(http.Client) || c.InSync(http.Server) {
		t.Error("in sync at the beginning of Midstream")
	}
	c.Data(http.Client, []byte(headsEnd(5, get)), 0)
	if !c.InSync(http.Client) || c.InSync(http.Server) || c.Open() != 1 {
		t.Errorf("client %v, server %v, open %d, want true, false, 1", c.InSync(http.Client), c.InSync(http.Server), c.Open())
	}
	c.Gap(http.Client, 1, 0)
	if c.InSync(http.Client) {
		t.Error("in sync after a gap")
	}
}
