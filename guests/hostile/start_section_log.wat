;; Logs from its start section, when the host has no instance to speak of yet.
;; Expect: reply ready, or deploy refused.

(module
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ready")
  (start $now)
  (func $now
    (call $console_log (i32.const 0) (i32.const 5)))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 5))
    (i32.const 1)))
