;; Logs a line of 48 MiB, then replies nothing.
;; Expect: replies; the line is cut short or dropped.

(module
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.lt_s (memory.grow (i32.const 767)) (i32.const 0)) (then (unreachable)))
    (memory.fill (i32.const 0) (i32.const 0x21) (i32.const 0x3000000))
    (call $console_log (i32.const 0) (i32.const 0x3000000))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
