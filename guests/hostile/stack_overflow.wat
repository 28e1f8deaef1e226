;; Recurses without end.
;; Expect: trap: stack overflow.

(module
  (memory (export "memory") 1)
  (func $down (param i32) (result i32)
    ;; The addition after the call keeps this from being a loop.
    (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $down (local.get 0))))
