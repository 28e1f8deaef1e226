package main

import "encoding/binary"

// A place in the plug-in's second memory; 0 is none.
type block = uint64

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env input_load_u8
func inputLoadU8(offset uint64) uint32

//go:wasmimport extism:host/env input_load_u64
func inputLoadU64(offset uint64) uint64

//go:wasmimport extism:host/env output_set
func outputSet(at block, length uint64)

//go:wasmimport extism:host/env error_set
func errorSet(at block)

//go:wasmimport extism:host/env alloc
func alloc(length uint64) block

//go:wasmimport extism:host/env length
func length(at block) uint64

//go:wasmimport extism:host/env load_u8
func loadU8(offset block) uint32

//go:wasmimport extism:host/env load_u64
func loadU64(offset block) uint64

//go:wasmimport extism:host/env store_u8
func storeU8(offset block, value uint32)

//go:wasmimport extism:host/env store_u64
func storeU64(offset block, value uint64)

//go:wasmimport extism:host/env config_get
func configGet(name block) block

//go:wasmimport extism:host/env var_get
func varGet(name block) block

//go:wasmimport extism:host/env var_set
func varSet(name, value block)

//go:wasmimport extism:host/user tide
func tide(harbour block) block

// Eight bytes at a time, and the rest one by one.
func read(count uint64, wide func(uint64) uint64, narrow func(uint64) uint32) []byte {
	bytes := make([]byte, count)
	at := uint64(0)
	for ; at+8 <= count; at += 8 {
		binary.LittleEndian.PutUint64(bytes[at:], wide(at))
	}
	for ; at < count; at++ {
		bytes[at] = byte(narrow(at))
	}
	return bytes
}

func input() []byte { return read(inputLength(), inputLoadU64, inputLoadU8) }

func load(at block) []byte {
	wide := func(offset uint64) uint64 { return loadU64(at + offset) }
	return read(length(at), wide, func(offset uint64) uint32 { return loadU8(at + offset) })
}

func store(bytes []byte) block {
	place := alloc(uint64(len(bytes)))
	at := 0
	for ; at+8 <= len(bytes); at += 8 {
		storeU64(place+uint64(at), binary.LittleEndian.Uint64(bytes[at:]))
	}
	for ; at < len(bytes); at++ {
		storeU8(place+uint64(at), uint32(bytes[at]))
	}
	return place
}

func output(bytes []byte) { outputSet(store(bytes), uint64(len(bytes))) }

func config(name string) (string, bool) { return named(name, configGet) }

func variable(name string) (string, bool) { return named(name, varGet) }

// What there is of a name, whose block the host frees.
func named(name string, get func(block) block) (string, bool) {
	found := get(store([]byte(name)))
	if found == 0 {
		return "", false
	}
	return string(load(found)), true
}

// The host frees both blocks.
func keep(name, value string) { varSet(store([]byte(name)), store([]byte(value))) }
