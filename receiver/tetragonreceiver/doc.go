// Package tetragonreceiver receives events from Tetragon, by gRPC or from its JSON export file, and turns them into the
// log records of the OTLP contract (docs/semantic-conventions.md).
//
// # Choices
//
// A record never claims that a function was entered which was not. Where Tetragon names a hook and not a function, the
// frame carries the name of the function that the hook implies:
//
//   - a tracepoint "subsys:event" is trace_<event>, the function the kernel's tracepoint macros define; the bare event
//     name can also be that of another kernel function (tcp_retransmit_skb is);
//   - an LSM hook is bpf_lsm_<hook>, the kernel function that Tetragon's program is attached to; the bare hook name can
//     also be that of another kernel function (inode_permission is);
//   - a USDT probe "provider:name" is __dtrace_<provider>___<name>, the function that DTrace's C binding calls at a
//     probe; it is a C name that no ordinary function has.
//
// The pair itself stands in tetragon.tracepoint.
//
// process.exit.code is absent when a signal ended the process, and when Tetragon says that it does not know. Tetragon
// reports a process that a real-time signal ended exactly like one that ended with code 0, so 0 can mean either.
//
//go:generate mdatagen metadata.yaml
package tetragonreceiver
