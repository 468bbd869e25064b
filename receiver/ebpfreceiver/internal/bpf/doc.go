// Package bpf is what the receiver runs in the kernel: the programs, the layout of what they tell, and loading.
// The objects and bindings are generated and committed, so that nobody needs a compiler for them; clang-19 makes them anew,
// byte by byte the same.
package bpf

//go:generate sh -c "command -v clang-19 >/dev/null || { echo clang-19 is not here: the objects stay as they are; exit; }; go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -go-package bpf -type event_type -type count -type process -type file_id -type program -type user_frame -type header -type exec_event -type fork_event -type exit_event -type connect_event -type first_hit_event -type mapping -type hit_key -type hit witness witness.c -- -O2 -Wall -Wextra -Werror"
