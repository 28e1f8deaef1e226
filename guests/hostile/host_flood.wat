;; Calls host/test/echo without end and never looks at the replies.
;; Expect: deadline.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestecho")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (loop $forever
      (drop (call $host_call
        (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
        (i32.const 0) (i32.const 12)))
      (br $forever))
    (unreachable)))
