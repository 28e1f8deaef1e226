//! The hello_world guest in Zig. The README one folder up says what each operation does.

const std = @import("std");
const wapc = @import("wapc.zig");
const Allocator = std.mem.Allocator;
const Error = wapc.Error;
const Reply = wapc.Reply;

pub const panic = std.debug.FullPanic(wapc.panic);

export fn __guest_call(operation_len: usize, payload_len: usize) i32 {
    return wapc.serve(operation_len, payload_len, handle);
}

fn handle(memory: Allocator, operation: []const u8, payload: []const u8) Error!Reply {
    if (is(operation, "hello_world") or is(operation, "hello")) {
        const name = if (payload.len == 0) "world" else payload;
        return .{ .ok = try concat(memory, &.{ "Hello, ", name, "!" }) };
    }
    if (is(operation, "echo")) return .{ .ok = payload };
    if (is(operation, "fail")) {
        if (payload.len == 0) return .{ .err = "failed as asked" };
        return .{ .err = try concat(memory, &.{ "failed as asked: ", payload }) };
    }
    if (is(operation, "host")) return host(memory, payload);
    if (is(operation, "fib")) {
        const n = number(payload) orelse
            return .{ .err = try concat(memory, &.{ "not a number: ", payload }) };
        return .{ .ok = try std.fmt.allocPrint(memory, "{d}", .{fib(n)}) };
    }
    if (is(operation, "log")) {
        wapc.consoleLog(payload);
        return .{ .ok = "" };
    }
    return .{ .err = try concat(memory, &.{ "unknown operation: ", operation }) };
}

/// The payload's first line names the call, `binding/namespace/operation`; the rest is passed on.
fn host(memory: Allocator, payload: []const u8) Error!Reply {
    if (payload.len == 0) return wapc.hostCall(memory, "host", "test", "echo", "");
    const target, const rest = split(payload, '\n') orelse .{ payload, "" };
    if (split(target, '/')) |binding| if (split(binding[1], '/')) |namespace|
        return wapc.hostCall(memory, binding[0], namespace[0], namespace[1], rest);
    return .{ .err = try concat(memory, &.{ "not a host call: ", target }) };
}

/// Decimal digits only, up to the largest u32: `parseInt` would take signs and underscores too.
fn number(digits: []const u8) ?u32 {
    if (digits.len == 0) return null;
    var n: u32 = 0;
    for (digits) |byte| {
        if (!std.ascii.isDigit(byte)) return null;
        n = std.math.mul(u32, n, 10) catch return null;
        n = std.math.add(u32, n, byte - '0') catch return null;
    }
    return n;
}

/// Naive on purpose: the work doubles with every other `n`.
fn fib(n: u32) u64 {
    return if (n < 2) n else fib(n - 1) +% fib(n - 2);
}

fn is(operation: []const u8, name: []const u8) bool {
    return std.mem.eql(u8, operation, name);
}

fn split(bytes: []const u8, at: u8) ?struct { []const u8, []const u8 } {
    const i = std.mem.findScalar(u8, bytes, at) orelse return null;
    return .{ bytes[0..i], bytes[i + 1 ..] };
}

fn concat(memory: Allocator, parts: []const []const u8) Error![]const u8 {
    return std.mem.concat(memory, u8, parts);
}
