;; Logs without end.
;; Expect: deadline; the log is rate-limited.

(module
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "the same line, once again\n")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (loop $forever
      (call $console_log (i32.const 0) (i32.const 26))
      (br $forever))
    (unreachable)))
