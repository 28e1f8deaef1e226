;; Calls host/test/echo with 16 bytes and wants the answer at its last byte.
;; Expect: bad pointer.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestecho")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (drop (call $host_call
      (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
      (i32.const 0) (i32.const 16)))
    (call $host_response (i32.const 65535))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
