package main

// What the program uses of wasi:http 0.2.12, as the canonical ABI has it: a handle is a number, a text or a list its address and
// its length, and a result that is more than one number is written to the last argument, an address.

import "unsafe"

type handle int32

// What the host writes a result to: by bytes, as an address is shorter there than in Go's own memory.
type area [16]uint64

func (out *area) at() unsafe.Pointer { return unsafe.Pointer(out) }

func (out *area) tag(at int) uint8 { return *(*uint8)(unsafe.Add(out.at(), at)) }

func (out *area) word(at int) uint32 { return *(*uint32)(unsafe.Add(out.at(), at)) }

func (out *area) long(at int) uint64 { return *(*uint64)(unsafe.Add(out.at(), at)) }

func (out *area) handle(at int) handle { return handle(out.word(at)) }

func (out *area) text(at int) string { return textAt(out.at(), at) }

// The address and the length there are those of a text.
func textAt(list unsafe.Pointer, at int) string {
	address, length := *(*uint32)(unsafe.Add(list, at)), *(*uint32)(unsafe.Add(list, at+4))
	if length == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(pointer(address)), length))
}

func pointer(address uint32) unsafe.Pointer { return unsafe.Add(nil, uintptr(address)) }

// What the host writes texts and lists to, which are copied at once, and how much of it has been lent since it was last all there.
var (
	lendable [1 << 15]uint64
	lent     uint32
)

// Lends the host memory. No import may be called meanwhile, and Go asks for the time when it collects garbage: so nothing is
// allocated here.
//
//go:wasmexport cabi_import_realloc
func lend(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	at := lent
	lent += size/8 + 1
	return unsafe.Pointer(&lendable[at:lent][0])
}

// What the adapter of WASI preview 1 has for its own, for good. It asks for that at Go's first call of WASI, before Go can
// allocate; and it must not grow the memory by itself, for Go takes what is beyond its own for its own.
var (
	ofAdapter [1 << 15]uint64
	given     uint32
)

//go:wasmexport cabi_realloc_adapter
func give(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	at := given
	given += size/8 + 1
	return unsafe.Pointer(&ofAdapter[at:given][0])
}

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.method
func requestMethod(request handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.path-with-query
func requestPath(request handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.scheme
func requestScheme(request handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.authority
func requestAuthority(request handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.headers
func requestHeaders(request handle) handle

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-request.consume
func requestConsume(request handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [constructor]fields
func newFields() handle

//go:wasmimport wasi:http/types@0.2.12 [method]fields.append
func fieldsAppend(fields handle, name string, value string, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]fields.entries
func fieldsEntries(fields handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-body.stream
func incomingStream(body handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [static]incoming-body.finish
func incomingFinish(body handle) handle

//go:wasmimport wasi:http/types@0.2.12 [method]future-trailers.subscribe
func trailersSubscribe(future handle) handle

//go:wasmimport wasi:http/types@0.2.12 [method]future-trailers.get
func trailersGet(future handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [constructor]outgoing-response
func newResponse(fields handle) handle

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-response.set-status-code
func responseSetStatus(response handle, code uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-response.body
func responseBody(response handle, out unsafe.Pointer)

// All that follows the response's handle is an error's code.
//
//go:wasmimport wasi:http/types@0.2.12 [static]response-outparam.set
func outparamSet(out handle, err int32, response handle, _ int32, _ int64, _, _, _, _ int32)

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-body.write
func outgoingWrite(body handle, out unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [static]outgoing-body.finish
func outgoingFinish(body handle, some uint32, trailers handle, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]input-stream.blocking-read
func streamRead(stream handle, most uint64, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.check-write
func streamCheckWrite(stream handle, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.write
func streamWrite(stream handle, bytes string, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.flush
func streamFlush(stream handle, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.blocking-flush
func streamBlockingFlush(stream handle, out unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.subscribe
func streamSubscribe(stream handle) handle

//go:wasmimport wasi:io/poll@0.2.12 [method]pollable.block
func pollableBlock(pollable handle)

//go:wasmimport wasi:clocks/monotonic-clock@0.2.12 subscribe-duration
func afterNanoseconds(duration uint64) handle

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]incoming-request
func dropRequest(request handle)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]fields
func dropFields(fields handle)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]incoming-body
func dropIncoming(body handle)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]future-trailers
func dropFuture(future handle)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]outgoing-body
func dropOutgoing(body handle)

//go:wasmimport wasi:io/streams@0.2.12 [resource-drop]input-stream
func dropInput(stream handle)

//go:wasmimport wasi:io/streams@0.2.12 [resource-drop]output-stream
func dropOutput(stream handle)

//go:wasmimport wasi:io/error@0.2.12 [resource-drop]error
func dropError(err handle)

//go:wasmimport wasi:io/poll@0.2.12 [resource-drop]pollable
func dropPollable(pollable handle)
