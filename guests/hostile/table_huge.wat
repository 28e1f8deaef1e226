;; Declares a table of 100 million entries from the start.
;; Expect: deploy refused: over the table limit.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (table 100000000 funcref)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
