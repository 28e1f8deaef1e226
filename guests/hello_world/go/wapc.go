package main

import (
	"errors"
	"unsafe"
)

//go:wasmimport wapc __guest_request
func guestRequest(operation, payload unsafe.Pointer)

//go:wasmimport wapc __guest_response
func guestResponse(reply unsafe.Pointer, length uint32)

//go:wasmimport wapc __guest_error
func guestError(text unsafe.Pointer, length uint32)

//go:wasmimport wapc __host_call
func wapcHostCall(
	binding unsafe.Pointer, bindingLen uint32,
	namespace unsafe.Pointer, namespaceLen uint32,
	operation unsafe.Pointer, operationLen uint32,
	payload unsafe.Pointer, payloadLen uint32,
) int32

//go:wasmimport wapc __host_response_len
func hostResponseLen() uint32

//go:wasmimport wapc __host_response
func hostResponse(reply unsafe.Pointer)

//go:wasmimport wapc __host_error_len
func hostErrorLen() uint32

//go:wasmimport wapc __host_error
func hostError(text unsafe.Pointer)

//go:wasmimport wapc __console_log
func wapcConsoleLog(text unsafe.Pointer, length uint32)

//go:wasmexport __guest_call
func guestCall(operationLen, payloadLen uint32) int32 {
	operation, payload := make([]byte, operationLen), make([]byte, payloadLen)
	guestRequest(start(operation), start(payload))
	reply, err := handle(string(operation), payload)
	if err != nil {
		text := []byte(err.Error())
		guestError(start(text), uint32(len(text)))
		return 0
	}
	guestResponse(start(reply), uint32(len(reply)))
	return 1
}

// hostCall calls the host. A refusal is an error with exactly the host's text.
func hostCall(binding, namespace, operation string, payload []byte) ([]byte, error) {
	b, n, o := []byte(binding), []byte(namespace), []byte(operation)
	accepted := wapcHostCall(
		start(b), uint32(len(b)),
		start(n), uint32(len(n)),
		start(o), uint32(len(o)),
		start(payload), uint32(len(payload)),
	)
	if accepted != 1 {
		text := make([]byte, hostErrorLen())
		hostError(start(text))
		return nil, errors.New(string(text))
	}
	reply := make([]byte, hostResponseLen())
	hostResponse(start(reply))
	return reply, nil
}

// consoleLog writes a line to the host's log.
func consoleLog(text []byte) {
	wapcConsoleLog(start(text), uint32(len(text)))
}

func start(b []byte) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(b))
}

// The host calls _initialize and then only exports, so main never runs; Go wants to see one.
func main() {}
