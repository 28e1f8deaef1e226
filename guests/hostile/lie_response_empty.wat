;; Replies with no bytes, from a pointer far outside. Zig gives such pointers to empty slices.
;; Expect: empty reply, or bad pointer.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0xffffffff) (i32.const 0))
    (i32.const 1)))
