;; Calls the host with a payload outside its memory.
;; Expect: bad pointer; no host call is made.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestecho")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (drop (call $host_call
      (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
      (i32.const 65536) (i32.const 16)))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
