[
  inputs: [
    "{mix,.formatter,.iex}.exs",
    "bin/**/*.exs",
    "{config,lib,test,bench,native}/**/*.{ex,exs}",
    "examples/*/{lib,test,config}/**/*.{ex,exs}",
    "examples/*/mix.exs"
  ],
  line_length: 120
]
