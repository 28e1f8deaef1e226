;; Logs a line outside its memory, and would then reply.
;; Expect: bad pointer.

(module
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $console_log (i32.const 0x80000000) (i32.const 0x80000000))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
