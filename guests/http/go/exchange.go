package main

import "unsafe"

// What is read, and written, at once.
const piece = 65536

type field struct{ name, value string }

// A request that the host has handed over, and where its response goes.
type exchange struct{ request, out handle }

func (x exchange) method() string {
	var out area
	requestMethod(x.request, out.at())
	names := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
	if tag := int(out.tag(0)); tag < len(names) {
		return names[tag]
	}
	return out.text(4)
}

func (x exchange) target() string { return optional(requestPath, x.request) }

func (x exchange) authority() string { return optional(requestAuthority, x.request) }

func optional(of func(handle, unsafe.Pointer), request handle) string {
	var out area
	of(request, out.at())
	if out.tag(0) == 0 {
		return ""
	}
	return out.text(4)
}

func (x exchange) scheme() string {
	var out area
	requestScheme(x.request, out.at())
	switch {
	case out.tag(0) == 0:
		return ""
	case out.tag(4) == 0:
		return "http"
	case out.tag(4) == 1:
		return "https"
	}
	return out.text(8)
}

func (x exchange) headers() (fields []field) {
	var out area
	of := requestHeaders(x.request)
	fieldsEntries(of, out.at())
	dropFields(of)
	for i := range int(out.word(4)) {
		entry := unsafe.Add(pointer(out.word(0)), 16*i)
		fields = append(fields, field{textAt(entry, 0), textAt(entry, 8)})
	}
	return fields
}

// Gives the body to a function, piece by piece. Returns its trailers, 0 if it has none, and whether both sides were there until
// its end.
func (x exchange) read(take func(string) bool) (trailers handle, whole bool) {
	var out area
	requestConsume(x.request, out.at())
	body := out.handle(4)
	incomingStream(body, out.at())
	stream := out.handle(4)
	for {
		lent = 0
		streamRead(stream, piece, out.at())
		if !goesOn(&out, 4) {
			break
		}
		if !take(out.text(4)) {
			dropInput(stream)
			dropIncoming(body)
			return 0, false
		}
	}
	dropInput(stream)
	future := incomingFinish(body)
	block(trailersSubscribe(future))
	trailersGet(future, out.at())
	dropFuture(future)
	if out.tag(0) == 0 || out.tag(8) != 0 || out.tag(16) != 0 {
		return 0, false
	}
	if out.tag(24) == 0 {
		return 0, true
	}
	return out.handle(28), true
}

// The body of a response.
type body struct{ body, stream handle }

// Sends the head of a response. What is no status is answered as what there is not.
func (x exchange) respond(code uint32, headers ...field) body {
	var out area
	fields := newFields()
	for _, header := range headers {
		fieldsAppend(fields, header.name, header.value, out.at())
	}
	response := newResponse(fields)
	if code > 0xffff || responseSetStatus(response, code) != 0 {
		responseSetStatus(response, 404)
	}
	responseBody(response, out.at())
	of := out.handle(4)
	outgoingWrite(of, out.at())
	outparamSet(x.out, 0, response, 0, 0, 0, 0, 0, 0)
	return body{of, out.handle(4)}
}

// Writes as much at a time as the host takes, and has each piece sent on.
func (to body) write(text string) bool {
	var out area
	for len(text) > 0 {
		streamCheckWrite(to.stream, out.at())
		if !goesOn(&out, 8) {
			return false
		}
		length := int(min(out.long(8), piece, uint64(len(text))))
		if length == 0 {
			block(streamSubscribe(to.stream))
			continue
		}
		streamWrite(to.stream, text[:length], out.at())
		if !goesOn(&out, 4) {
			return false
		}
		streamFlush(to.stream, out.at())
		if !goesOn(&out, 4) {
			return false
		}
		text = text[length:]
	}
	return true
}

// The bytes, which have left this guest then.
func (to body) send(text string) bool {
	var out area
	if !to.write(text) {
		return false
	}
	streamBlockingFlush(to.stream, out.at())
	return goesOn(&out, 4)
}

func (to body) finish(trailers handle) {
	var out area
	dropOutput(to.stream)
	some := uint32(0)
	if trailers != 0 {
		some = 1
	}
	outgoingFinish(to.body, some, trailers, out.at())
}

// The other side is told that it has not got all.
func (to body) leave() {
	dropOutput(to.stream)
	dropOutgoing(to.body)
}

// Whether a stream does after this result, whose error is there: later than elsewhere if it could be a number of 64 bits.
func goesOn(result *area, at int) bool {
	if result.tag(0) != 0 && result.tag(at) == 0 {
		dropError(result.handle(at + 4))
	}
	return result.tag(0) == 0
}

func block(pollable handle) {
	pollableBlock(pollable)
	dropPollable(pollable)
}
