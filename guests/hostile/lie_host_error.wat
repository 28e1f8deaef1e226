;; Calls host/nobody/home, which is refused, and wants the text outside its memory.
;; Expect: bad pointer.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hostnobodyhome")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (drop (call $host_call
      (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 6) (i32.const 10) (i32.const 4)
      (i32.const 0) (i32.const 0)))
    (call $host_error (i32.const 0xfffffffe))
    (call $guest_response (i32.const 0) (i32.const 0))
    (i32.const 1)))
