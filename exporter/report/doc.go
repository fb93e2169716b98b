// Package report turns a tally into what a person or a program reads at the end:
// the text report, the JSON report, findings with advice, and the comparison of
// two reports.
//
// [Build] makes the [Report], which [Report.WriteText] and [Report.WriteJSON] print.
// What to change is weighed by package findings, from figures that the weigher brings
// into its form.
//
// # Who is counted where
//
// The report joins the addresses of one name and direction at one hop: an address that
// is a client of another address of the same name is not the same server. Addresses
// count where requests went, a request for its own Host. Health checks are part of all
// figures but of effectiveness and findings. Connections whose exchanges are
// guesses from encrypted records are counted as connections, but their requests,
// reuse, races and verdicts stand apart, under "estimated". What rests on
// connections alone (reasons, idle times before closings, ages) is not divided.
// Requests per connection are taken over the connections that carried at least one
// request and have ended. The reuse ratio leaves out the first request of each
// midstream connection, of which nobody knows whether it was reused. New
// connections in 60 s are those of the busiest 60 s that begin at a multiple of
// 5 s.
//
// The caps are those of package tally.
package report
