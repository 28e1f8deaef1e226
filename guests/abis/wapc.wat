;; The payload's first byte says what is to be done.
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  ;; include program.wat
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $request (i32.const 0) (i32.const 128))
    (i32.store8 (i32.const 16) (call $program (i32.load8_u (i32.const 128))))
    (call $response (i32.const 16) (i32.const 1))
    (i32.const 1)))
