;; Replies with bytes whose pointer plus length is 16, if one forgets the 33rd bit.
;; Expect: bad pointer.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0xfffffff0) (i32.const 32))
    (i32.const 1)))
