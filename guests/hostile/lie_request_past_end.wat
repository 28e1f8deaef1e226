;; Asks for the operation from its last byte on; a name of two bytes does not fit.
;; Expect: bad pointer.

(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_request (i32.const 65535) (i32.const 0))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
