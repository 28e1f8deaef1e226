//! waPC by hand: a guest's imports, made safe to use.

const std = @import("std");

extern "wapc" fn __guest_request(operation: [*]u8, payload: [*]u8) void;
extern "wapc" fn __guest_response(reply: [*]const u8, len: usize) void;
extern "wapc" fn __guest_error(text: [*]const u8, len: usize) void;
extern "wapc" fn __host_call(
    binding: [*]const u8,
    binding_len: usize,
    namespace: [*]const u8,
    namespace_len: usize,
    operation: [*]const u8,
    operation_len: usize,
    payload: [*]const u8,
    payload_len: usize,
) i32;
extern "wapc" fn __host_response_len() usize;
extern "wapc" fn __host_response(reply: [*]u8) void;
extern "wapc" fn __host_error_len() usize;
extern "wapc" fn __host_error(text: [*]u8) void;
extern "wapc" fn __console_log(text: [*]const u8, len: usize) void;

/// Bytes for the caller, or the text of an error.
pub const Reply = union(enum) { ok: []const u8, err: []const u8 };

pub const Error = std.mem.Allocator.Error;

/// What answers an operation. The memory it gets lives until the call's end.
pub const Handler = fn (std.mem.Allocator, operation: []const u8, payload: []const u8) Error!Reply;

/// Answers one `__guest_call`: fetches the request, lets `handle` work on it, hands over the reply.
pub fn serve(operation_len: usize, payload_len: usize, comptime handle: Handler) i32 {
    // Everything a call allocates goes at its end, so a warm instance stays flat.
    var arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);
    defer arena.deinit();
    const reply = answer(arena.allocator(), operation_len, payload_len, handle) catch @trap();
    switch (reply) {
        .ok => |bytes| __guest_response(bytes.ptr, bytes.len),
        .err => |text| __guest_error(text.ptr, text.len),
    }
    return @intFromBool(reply == .ok);
}

fn answer(
    memory: std.mem.Allocator,
    operation_len: usize,
    payload_len: usize,
    comptime handle: Handler,
) Error!Reply {
    const operation = try buffer(memory, operation_len);
    const payload = try buffer(memory, payload_len);
    __guest_request(operation.ptr, payload.ptr);
    return handle(memory, operation, payload);
}

/// Calls the host. A refusal is an error with exactly the host's text.
pub fn hostCall(
    memory: std.mem.Allocator,
    binding: []const u8,
    namespace: []const u8,
    operation: []const u8,
    payload: []const u8,
) Error!Reply {
    const accepted = __host_call(
        binding.ptr,
        binding.len,
        namespace.ptr,
        namespace.len,
        operation.ptr,
        operation.len,
        payload.ptr,
        payload.len,
    );
    if (accepted == 1) {
        const reply = try buffer(memory, __host_response_len());
        __host_response(reply.ptr);
        return .{ .ok = reply };
    }
    const text = try buffer(memory, __host_error_len());
    __host_error(text.ptr);
    return .{ .err = text };
}

/// Says why a guest panics, in the host's log and in the error of its call: `std.debug.FullPanic(wapc.panic)`.
pub fn panic(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    consoleLog(message);
    @trap();
}

/// Writes a line to the host's log.
pub fn consoleLog(text: []const u8) void {
    __console_log(text.ptr, text.len);
}

/// An empty allocation gets the address 0xffffffff, which a host may well refuse: ask for a byte.
fn buffer(memory: std.mem.Allocator, len: usize) Error![]u8 {
    return (try memory.alloc(u8, @max(len, 1)))[0..len];
}
