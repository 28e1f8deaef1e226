;; Grows its memory by 1 MiB in each call, touches that, and replies nothing; refused, it traps.
;; Expect: replies until a warm instance is at its limit.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $old i32)
    (local.set $old (memory.grow (i32.const 16)))
    (if (i32.lt_s (local.get $old) (i32.const 0)) (then (unreachable)))
    (memory.fill (i32.shl (local.get $old) (i32.const 16)) (i32.const 0x5a) (i32.const 0x100000))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
