// Package waiter waits for file descriptors of the kernel without a thread that blocks.
package waiter
