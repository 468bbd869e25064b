// Package procfs reads what the proc file system of Linux says of processes: who they are, what they have mapped, where
// they run and what contains them.
//
// Everything is read through one handle of a process's directory, which never comes to mean another process, and within
// bounds. What comes out for export are classes; names that processes give themselves (comm) are never read.
package procfs

import "strings"

// FileID tells a file, and its content, from all others of this boot. Dev is what stat says, which some file systems
// (overlayfs, btrfs) do not say in maps.
type FileID struct {
	Dev, Inode uint64
	// Generation tells files apart that had the same inode one after the other, HasGeneration whether the file system
	// tells.
	Generation    uint32
	HasGeneration bool
	Ctime         int64 // nanoseconds since 1970
	Size          int64
}

// WithoutGeneration is an id as it is without opening the file.
func (id FileID) WithoutGeneration() FileID {
	id.Generation, id.HasGeneration = 0, false
	return id
}

const deletedSuffix = " (deleted)"

// WithoutDeleted is a path without what the kernel appends to that of a file that has no name any more.
func WithoutDeleted(path string) string { return strings.TrimSuffix(path, deletedSuffix) }
