;; Writes bytes to stdout that are outside its memory, then exits with the number that fd_write
;; returned.
;; Expect: an error.

(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write
    (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\f0\ff\ff\ff\20\00\00\00") ;; one buffer: 32 bytes, from 0xfffffff0 on
  (func (export "_start")
    (call $proc_exit
      (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
