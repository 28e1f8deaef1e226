// A guest that is initialised before its first call; the README one folder up says what it has and what it answers.
package main

import (
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

//go:wasmimport wapc __guest_request
func guestRequest(operation, payload unsafe.Pointer)

//go:wasmimport wapc __guest_response
func guestResponse(reply unsafe.Pointer, length uint32)

// Made while the package is initialised: one map is filled then, the other only by calls.
var (
	known = map[string]int{"random": 1, "seeds": 2, "maps": 3, "choices": 4}
	calls = map[string]int{}
)

// kept is filled by the variants of this guest, which a snapshot would freeze.
var kept string

//go:wasmexport __guest_call
func guestCall(operationLen, payloadLen uint32) int32 {
	operation, payload := make([]byte, operationLen), make([]byte, payloadLen)
	guestRequest(unsafe.Pointer(unsafe.SliceData(operation)), unsafe.Pointer(unsafe.SliceData(payload)))
	reply := []byte(answer(string(operation)))
	guestResponse(unsafe.Pointer(unsafe.SliceData(reply)), uint32(len(reply)))
	return 1
}

func answer(operation string) string {
	calls[operation]++
	switch known[operation] {
	case 1:
		return random()
	case 2:
		return seeds()
	case 3:
		return maps()
	case 4:
		return choices()
	default:
		return "unknown operation"
	}
}

// random is what the generator gives.
func random() string { return strconv.FormatUint(rand.Uint64(), 16) + kept }

// seeds are what hashes start from: of a value that asks for a seed, and the order of a map that is as old as the program.
func seeds() string {
	var order []string
	for name := range known {
		order = append(order, name)
	}
	hash := maphash.String(maphash.MakeSeed(), "text")
	return strconv.FormatUint(hash, 16) + " " + strings.Join(order, " ")
}

// choices are those of 64 selects between two channels that are both ready, which the runtime makes by its cheap numbers.
func choices() string {
	var made strings.Builder
	first, second := make(chan struct{}, 1), make(chan struct{}, 1)
	for range 64 {
		first <- struct{}{}
		second <- struct{}{}
		select {
		case <-first:
			made.WriteByte('1')
			<-second
		case <-second:
			made.WriteByte('2')
			<-first
		}
	}
	return made.String()
}

// maps finds all that it put into the two maps, before and after they have grown out of one group and been collected.
func maps() string {
	var found []string
	for name := range known {
		if known[name] != 0 {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	for n := range 100 {
		calls[strconv.Itoa(n)] = n
	}
	runtime.GC()
	for n := range 100 {
		if calls[strconv.Itoa(n)] != n {
			return strconv.Itoa(n) + " is lost"
		}
	}
	return strings.Join(found, " ") + " " + strconv.Itoa(len(calls))
}

func main() {}
