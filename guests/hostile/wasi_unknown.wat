;; Imports wasi_snapshot_preview1/mystery.
;; Expect: deploy refused: unknown import.

(module
  (import "wasi_snapshot_preview1" "mystery" (func $mystery))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $mystery)))
