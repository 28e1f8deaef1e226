;; Hands over an error text and a reply, then succeeds.
;; Expect: reply reply.

(module
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "replysorry")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_error (i32.const 5) (i32.const 5))
    (call $guest_response (i32.const 0) (i32.const 5))
    (i32.const 1)))
