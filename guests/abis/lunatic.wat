;; The second argument says what is to be done, and the answer is a line of standard output.
(module
  (import "lunatic::version" "major" (func $major (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $arguments (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A place and a length.
  (data (i32.const 0) "\10\00\00\00\02\00\00\00")
  ;; include program.wat
  (func (export "_start")
    (drop (call $arguments (i32.const 32) (i32.const 64)))
    (i32.store8 (i32.const 16) (call $program (i32.load8_u (i32.load (i32.const 36)))))
    (i32.store8 (i32.const 17) (i32.const 0x0a))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
