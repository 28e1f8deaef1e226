;; Logs the bytes ff fe 21, then replies nothing.
;; Expect: empty reply; the line is made readable.

(module
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\ff\fe!")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $console_log (i32.const 0) (i32.const 3))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
