;; Counts to 200 million in wapc_init, then answers at once.
;; Expect: reply ready; a snapshot taken after the start saves the counting.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ready")
  (func (export "wapc_init")
    (local $left i32)
    (local.set $left (i32.const 200000000))
    (loop $more
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 5))
    (i32.const 1)))
