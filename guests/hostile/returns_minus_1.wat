;; Hands over an error text and returns -1.
;; Expect: guest error sorry.

(module
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "sorry")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_error (i32.const 0) (i32.const 5))
    (i32.const -1)))
