;; Fails with a text of 48 MiB.
;; Expect: guest error with a text cut short; trap: unreachable if its memory is smaller than that.

(module
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.lt_s (memory.grow (i32.const 767)) (i32.const 0)) (then (unreachable)))
    (memory.fill (i32.const 0) (i32.const 0x21) (i32.const 0x3000000))
    (call $guest_error (i32.const 0) (i32.const 0x3000000))
    (i32.const 0)))
