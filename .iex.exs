# In `iex -S mix`: recompile_nif/0 loads what was edited in native/ into this shell's node. Whoever has a shell set up for all projects keeps that.
import_file_if_available("~/.iex.exs")

if Code.ensure_loaded?(Mix) and function_exported?(Mix, :env, 0) and Mix.env() == :dev and
     File.exists?("native/reload.exs"),
   do: Code.require_file("native/reload.exs")

import_if_available(Tidepool.Reload)
