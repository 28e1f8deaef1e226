;; Calls host/test/echo with 48 MiB and replies with 1 when the host accepts that, else with 0.
;; Expect: 0, or an error; 1 only if the limit allows so much.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestecho")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.lt_s (memory.grow (i32.const 767)) (i32.const 0)) (then (unreachable)))
    (i32.store8 (i32.const 16)
      (i32.add (i32.const 0x30)
        (call $host_call
          (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
          (i32.const 0) (i32.const 0x3000000))))
    (call $guest_response (i32.const 16) (i32.const 1))
    (i32.const 1)))
