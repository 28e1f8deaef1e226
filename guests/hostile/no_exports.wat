;; Exports nothing at all.
;; Expect: deploy refused: no known ABI.

(module)
