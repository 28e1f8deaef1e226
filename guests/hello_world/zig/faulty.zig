//! The faulty guest in Zig. The README one folder up says what each operation does.

const std = @import("std");
const wapc = @import("wapc.zig");

pub const panic = std.debug.FullPanic(wapc.panic);

const table = [_]u32{ 10, 20, 30 };

export fn __guest_call(operation_len: usize, payload_len: usize) i32 {
    return wapc.serve(operation_len, payload_len, handle);
}

fn handle(memory: std.mem.Allocator, operation: []const u8, payload: []const u8) wapc.Error!wapc.Reply {
    const n = std.fmt.parseInt(usize, payload, 10) catch @panic("the payload is no number");
    if (std.mem.eql(u8, operation, "index"))
        return .{ .ok = try std.fmt.allocPrint(memory, "{d}", .{table[n]}) };
    if (std.mem.eql(u8, operation, "deep"))
        return .{ .ok = if (deep(n) > 0) "deep" else "flat" };
    return .{ .err = try std.mem.concat(memory, u8, &.{ "unknown operation: ", operation }) };
}

/// Each level keeps its room until the one below is done.
fn deep(n: usize) usize {
    var room: [256]u8 = undefined;
    const kept: *volatile [256]u8 = &room;
    kept[n % 256] = @truncate(n);
    return if (n == 0) 0 else deep(n - 1) + @intFromBool(kept[n % 256] == @as(u8, @truncate(n)));
}
