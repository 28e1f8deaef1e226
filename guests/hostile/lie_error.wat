;; Fails with a text outside its memory.
;; Expect: bad pointer.

(module
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_error (i32.const 65536) (i32.const 0x7fffffff))
    (i32.const 0)))
