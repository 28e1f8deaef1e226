;; Imports wapc/__guest_response with a 64-bit length.
;; Expect: deploy refused: wrong signature.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i64)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i64.const 0))
    (i32.const 1)))
