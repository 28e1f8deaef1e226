// The fickle guest in Go. The README one folder up says what each operation does.
package main

import (
	"errors"
	"strconv"
	"time"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 random_get
func randomGet(bytes unsafe.Pointer, length uint32) uint32

var table = []int{10, 20, 30}

// Of all calls of this instance.
var sum uint64

func handle(operation string, _ []byte) ([]byte, error) {
	switch operation {
	case "mix":
		return mix()
	case "first":
		return first(), nil
	default:
		return nil, errors.New("unknown operation: " + operation)
	}
}

func mix() ([]byte, error) {
	now := uint64(time.Now().UnixNano())
	var random uint64
	if randomGet(unsafe.Pointer(&random), uint32(unsafe.Sizeof(random))) != 0 {
		return nil, errors.New("no random bytes")
	}
	asked := strconv.FormatUint(now, 10) + " " + strconv.FormatUint(random, 10)
	weight, err := hostCall("fickle", "test", "weigh", []byte(asked))
	if err != nil {
		return nil, err
	}
	sum = sum*31 + now + random
	for _, b := range weight {
		sum = sum*31 + uint64(b)
	}
	return []byte(asked + " " + string(weight) + " " + strconv.Itoa(table[sum>>7%4])), nil
}

// first panics if the map begins with one of its names, and else says which comes first.
func first() []byte {
	for name := range map[string]int{"low": 1, "high": 2, "ebb": 3, "flood": 4, "spring": 5, "neap": 6} {
		if name == "ebb" || name == "flood" {
			panic(name + " came first")
		}
		return []byte(name)
	}
	return nil
}
