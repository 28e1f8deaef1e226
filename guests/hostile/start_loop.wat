;; Spins without end in _start, and has a __guest_call too.
;; Expect: deploy refused: deadline.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ready")
  (func (export "_start")
    (loop $forever (br $forever)))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 5))
    (i32.const 1)))
