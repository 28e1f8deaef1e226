;; Exits with 9 and says nothing.
;; Expect: exit status 9, without a text.

(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $proc_exit (i32.const 9))))
