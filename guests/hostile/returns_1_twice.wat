;; Hands over two replies, then succeeds.
;; Expect: reply second: the last one counts.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "firstsecond")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 5))
    (call $guest_response (i32.const 5) (i32.const 6))
    (i32.const 1)))
