;; Writes to stdout but does not export the memory to read from.
;; Expect: deploy refused: no memory, or an error.

(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write
    (param i32 i32 i32 i32) (result i32)))
  (memory 1)
  (data (i32.const 0) "\10\00\00\00\04\00\00\00") ;; one buffer: 4 bytes, from 16 on
  (data (i32.const 16) "half")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
