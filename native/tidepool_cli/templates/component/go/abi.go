package main

// Texts as the canonical ABI has them: one that comes is its address and its length in bytes, and one that is returned is written as
// these two, whose address is the result. https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md

import "unsafe"

type address = unsafe.Pointer

// Arguments of one call, all together.
const mostBytes = 8 << 20

// What the host writes arguments to, and how much of it has been lent since they were last taken.
var (
	lendable [mostBytes / 8]uint64
	lent     uint32
)

// Lends the host memory. No import may be called meanwhile, and Go asks for the time when it collects garbage: so nothing is
// allocated here, and more than there is ends the call.
//
//go:wasmexport cabi_realloc
func lend(old address, oldSize, align, size uint32) address {
	at := lent
	lent += size/8 + 1
	return address(&lendable[at:lent][0])
}

// What the adapter of WASI preview 1 has for its own, for good. It asks for that at Go's first call of WASI, before Go can
// allocate; and it must not grow the memory by itself, for Go takes what is beyond its own for its own.
var (
	ofAdapter [1 << 15]uint64
	used      uint32
)

//go:wasmexport cabi_realloc_adapter
func lendAdapter(old address, oldSize, align, size uint32) address {
	at := used
	used += size/8 + 1
	return address(&ofAdapter[at:used][0])
}

// A copy of an argument. The memory of all is there again for the next call, and for what imports return: take them all first.
func taken(text address, length uint32) string {
	lent = 0
	return string(unsafe.Slice((*byte)(text), length))
}

// What was returned last, which Go keeps until the next call.
var (
	returned []byte
	result   [2]uint32
)

// A text as the result of an export.
func given(text string) address {
	returned = []byte(text)
	result = [2]uint32{uint32(uintptr(address(unsafe.SliceData(returned)))), uint32(len(returned))}
	return address(&result)
}
