//! The fickle guest in Zig. The README one folder up says what each operation does.

const std = @import("std");
const wapc = @import("wapc.zig");

pub const panic = std.debug.FullPanic(wapc.panic);

extern "wasi_snapshot_preview1" fn clock_time_get(clock: u32, precision: u64, time: *u64) u16;
extern "wasi_snapshot_preview1" fn random_get(bytes: [*]u8, len: usize) u16;

const realtime = 0;
const table = [_]u32{ 10, 20, 30 };

/// Of all calls of this instance.
var sum: u64 = 0;

export fn __guest_call(operation_len: usize, payload_len: usize) i32 {
    return wapc.serve(operation_len, payload_len, handle);
}

fn handle(memory: std.mem.Allocator, operation: []const u8, _: []const u8) wapc.Error!wapc.Reply {
    if (!std.mem.eql(u8, operation, "mix"))
        return .{ .err = try std.mem.concat(memory, u8, &.{ "unknown operation: ", operation }) };
    var time: u64 = 0;
    if (clock_time_get(realtime, 1, &time) != 0) @panic("no clock");
    var random: u64 = 0;
    if (random_get(@ptrCast(&random), @sizeOf(u64)) != 0) @panic("no random bytes");
    const asked = try std.fmt.allocPrint(memory, "{d} {d}", .{ time, random });
    const answer = try wapc.hostCall(memory, "fickle", "test", "weigh", asked);
    const weight = switch (answer) {
        .ok => |bytes| bytes,
        .err => return answer,
    };
    sum = sum *% 31 +% time +% random;
    for (weight) |byte| sum = sum *% 31 +% byte;
    const chosen = table[@intCast(sum >> 7 & 3)];
    return .{ .ok = try std.fmt.allocPrint(memory, "{d} {d} {s} {d}", .{ time, random, weight, chosen }) };
}
