;; Replies with 48 MiB.
;; Expect: over the reply limit; trap: unreachable if its memory is smaller than that.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.lt_s (memory.grow (i32.const 767)) (i32.const 0)) (then (unreachable)))
    (call $guest_response (i32.const 0) (i32.const 0x3000000))
    (i32.const 1)))
