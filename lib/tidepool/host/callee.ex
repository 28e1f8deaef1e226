defmodule Tidepool.Host.Callee do
  @moduledoc """
  A function that another one asks by HTTP, at `http://NAME.internal`.

  Both run at a time, for bodies go both ways, so the one that is asked has a process of its own. Its call is nested in the other's as
  that of a host callback is, and ends with it.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Error.Reason
  alias Tidepool.Host.Isolated

  @doc "Has a function serve a request. What becomes of it is told to the guest that asks."
  @spec start(String.t(), operation :: String.t(), Native.exchange()) :: :ok
  def start(name, operation, exchange) do
    Isolated.start(
      fn ->
        with {:error, error} <- Tidepool.exchange(name, operation, exchange),
             do: Native.exchange_refuse(exchange, refusal(error))
      end,
      # One that was killed has told nobody.
      fn -> Native.exchange_refuse(exchange, "#{name}: it was ended") end
    )
  end

  @doc """
  What the guest is told of an error.

      iex> alias Tidepool.{Error, Host.Callee}
      iex> Callee.refusal(%Error{reason: {:limit, :depth}, message: "", function: "tide"})
      :too_deep
      iex> Callee.refusal(%Error{reason: :no_response, message: "it set none", function: "tide"})
      "tide: it set none"
  """
  @spec refusal(Error.t()) :: Native.refusal()
  def refusal(%Error{reason: reason} = error) do
    case reason do
      :not_deployed -> :missing
      :unavailable -> :unavailable
      :not_ready -> :unavailable
      {:limit, :depth} -> :too_deep
      :timeout -> :late
      _other -> if Reason.is?(reason, :no_room), do: :full, else: text(error)
    end
  end

  # Some of what went wrong is not for guests.
  defp text(%Error{reason: reason, message: message, function: name}),
    do: if(Reason.is?(reason, :private), do: "#{name}: it failed", else: "#{name}: #{message}")
end
