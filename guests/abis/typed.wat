;; The same as a component, which has the module in it.
(component
  (core module $m
    (memory (export "memory") 1)
    ;; include program.wat
    (export "run" (func $program)))
  (core instance $i (instantiate $m))
  (func (export "run") (param "what" u32) (result u32) (canon lift (core func $i "run"))))
