// Package reassembly turns one worker's TCP segments into ordered bytes, gaps
// and ends per connection.
package reassembly
