// The hello_world guest in Go. The README one folder up says what each operation does.
package main

import (
	"bytes"
	"errors"
	"math"
	"strconv"
)

func handle(operation string, payload []byte) ([]byte, error) {
	switch operation {
	case "hello_world", "hello":
		return hello(payload), nil
	case "echo":
		return payload, nil
	case "fail":
		return nil, fail(payload)
	case "host":
		return host(payload)
	case "fib":
		n, ok := number(payload)
		if !ok {
			return nil, errors.New("not a number: " + string(payload))
		}
		return strconv.AppendUint(nil, fib(n), 10), nil
	case "log":
		consoleLog(payload)
		return nil, nil
	default:
		return nil, errors.New("unknown operation: " + operation)
	}
}

func hello(name []byte) []byte {
	if len(name) == 0 {
		name = []byte("world")
	}
	return append(append([]byte("Hello, "), name...), '!')
}

func fail(payload []byte) error {
	if len(payload) == 0 {
		return errors.New("failed as asked")
	}
	return errors.New("failed as asked: " + string(payload))
}

// host takes the call from the payload's first line, binding/namespace/operation, and passes on the rest.
func host(payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return hostCall("host", "test", "echo", nil)
	}
	target, rest, _ := bytes.Cut(payload, []byte("\n"))
	parts := bytes.SplitN(target, []byte("/"), 3)
	if len(parts) < 3 {
		return nil, errors.New("not a host call: " + string(target))
	}
	return hostCall(string(parts[0]), string(parts[1]), string(parts[2]), rest)
}

// number takes decimal digits only, up to the largest uint32.
func number(digits []byte) (uint32, bool) {
	var n uint64
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		n = n*10 + uint64(digit-'0')
		if n > math.MaxUint32 {
			return 0, false
		}
	}
	return uint32(n), len(digits) > 0
}

// fib is naive on purpose: the work doubles with every other n.
func fib(n uint32) uint64 {
	if n < 2 {
		return uint64(n)
	}
	return fib(n-1) + fib(n-2)
}
