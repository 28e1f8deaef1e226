defmodule Tidepool.Host.Call do
  @moduledoc """
  A guest's call to the host, as a handler gets it: the target in three parts, the payload, and which function calls.

  All but `:function` is what the guest sent: bytes of its choice, to be checked like any input.
  """

  @type t :: %__MODULE__{
          binding: binary,
          namespace: binary,
          operation: binary,
          payload: binary,
          function: String.t()
        }

  @enforce_keys [:binding, :namespace, :operation, :payload, :function]
  defstruct @enforce_keys
end
