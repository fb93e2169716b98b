package events

import "github.com/keepscope/keepscope/exporter/communityid"

// communityID reads the name that other tools give a connection.
func communityID(c *connection, v *Value) bool {
	v.Identity = communityid.Append(v.scratch[:0], c.Client, c.Server)
	return true
}
