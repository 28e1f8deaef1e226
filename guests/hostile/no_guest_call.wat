;; Exports a memory and wapc_init, but no __guest_call.
;; Expect: deploy refused: no known ABI.

(module
  (memory (export "memory") 1)
  (func (export "wapc_init")))
