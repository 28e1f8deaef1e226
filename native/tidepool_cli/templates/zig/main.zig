//! A function of Tidepool: each operation is a branch of `handle`.
const std = @import("std");
const wapc = @import("wapc.zig");

/// So that the error of a call that panics says why.
pub const panic = std.debug.FullPanic(wapc.panic);

export fn __guest_call(operation_len: usize, payload_len: usize) i32 {
    return wapc.serve(operation_len, payload_len, handle);
}

/// What `memory` allocates is freed when the call ends.
fn handle(memory: std.mem.Allocator, operation: []const u8, payload: []const u8) wapc.Error!wapc.Reply {
    if (std.mem.eql(u8, operation, "hello"))
        return .{ .ok = try std.mem.concat(memory, u8, &.{ "Hello, ", payload, "!" }) };
    return .{ .err = try std.mem.concat(memory, u8, &.{ "unknown operation: ", operation }) };
}
