// Package privileges gives up the rights that it took to begin capturing.
//
// Root starts, opens interfaces and files, and then becomes another user without
// capabilities, confined to the files that it goes on using: Drop. Files that the
// process uses before and after are opened with that user's rights from the first
// (User.Do), so that what it may not do fails at the start.
//
// Rights are a thread's own on Linux. The package sees to it that all threads of the
// process take part.
package privileges
