;; The argument is the character that says what is to be done, and the result a character, too.
(module
  (memory (export "memory") 1)
  ;; include program.wat
  (export "run" (func $program)))
