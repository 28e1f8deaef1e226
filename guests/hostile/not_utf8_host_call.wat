;; Calls the host with names of the byte ff, and replies with 1 when that is accepted, else with 0.
;; Expect: 0, or an error.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\ff")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.store8 (i32.const 16)
      (i32.add (i32.const 0x30)
        (call $host_call
          (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)
          (i32.const 0) (i32.const 1))))
    (call $guest_response (i32.const 16) (i32.const 1))
    (i32.const 1)))
