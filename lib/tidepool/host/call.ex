defmodule Tidepool.Host.Call do
  @moduledoc """
  A guest's call to the host, as a handler gets it.

  - `:binding`, `:namespace`, `:operation` and `:payload` are what the guest sent: bytes of its choice, to be checked like
    any input.
  - `:args` are the arguments of an import that is not waPC's, a list; `nil` of a waPC call. Their `:payload` is empty, and what is
    answered is `{:ok, value}`.
  - `:function` and `:version` say which deployed function calls.
  - `:depth` is how deep that call is nested: 1 for one from outside.
  - `:deadline` is when the call's time is over, as `System.monotonic_time(:millisecond)` of the guest's node will say.
  - `:context` is what the caller passed as `Tidepool.call(…, context: term)`; calls that a handler makes inherit it unless
    they pass another. `nil` without one, and for calls over HTTP.
  - `:traceparent` is the header by that name for what the handler asks of others, where the call is part of a trace, recorded or
    not; else `nil`. See `Tidepool.Trace`.

  The last six have defaults, for whoever makes such a call by hand in a test of a handler.
  """

  @type t :: %__MODULE__{
          binding: binary,
          namespace: binary,
          operation: binary,
          payload: binary,
          args: [term] | nil,
          function: String.t(),
          version: pos_integer,
          depth: pos_integer,
          deadline: integer,
          context: term,
          traceparent: String.t() | nil
        }

  @enforce_keys [:binding, :namespace, :operation, :payload, :function]
  defstruct @enforce_keys ++ [args: nil, version: 1, depth: 1, deadline: 0, context: nil, traceparent: nil]
end
