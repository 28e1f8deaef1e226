;; Leaves a reply of almost 4 MiB, and then passes as much to the host.
;; Expect: no more of that on the host than the function may have; the call ends by its limit `total_memory`.

(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (import "wapc" "__host_call" (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  ;; 0: a name; 65536: what is passed.
  (memory (export "memory") 64)
  (data (i32.const 0) "growth")

  (func (export "__guest_call") (param i32 i32) (result i32)
    (memory.fill (i32.const 65536) (i32.const 90) (i32.const 0x3f0000))
    (call $response (i32.const 65536) (i32.const 0x3f0000))
    (drop (call $host_call
      (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 6)
      (i32.const 65536) (i32.const 0x3f0000)))
    (i32.const 1)))
