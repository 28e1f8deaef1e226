defmodule Tidepool.Function.Grants do
  @moduledoc """
  Grants: what of the network a function's programs may use. Each is a text, such as `tcp:listen:127.0.0.1:8080`,
  `https:*.example.com:443`, `udp:*:5000-6000` or `dns`; docs/processes.md says how they are written.

  The library reads them, in one place for all; here are the lists that deploys and settings have of them.
  """

  alias Tidepool.{Error, Native}

  @most 32

  @type t :: [String.t()]

  @doc "What a list of grants has to be."
  @spec expectation :: String.t()
  def expectation,
    do: "a list of at most #{@most} grants, such as \"tcp:listen:127.0.0.1:8080\", \"https:a.example:443\" or \"dns\""

  @doc "What the text of one grant has to be."
  @spec notation :: String.t()
  def notation do
    "`PROTOCOL:DIRECTION:HOST:PORT` with `tcp`, `tls` or `udp`, `listen` or `connect`, or " <>
      "`https:HOST:PORT`, `http:HOST:PORT`, `dns`, or `*`; #{@most} grants at most"
  end

  @doc """
  Can a function have these grants?

      iex> alias Tidepool.Function.Grants
      iex> Enum.map([[], ["dns", "tcp:*:80"], ["tcp"], ["dns", "dns"], "dns"], &Grants.valid?/1)
      [true, true, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(grants) do
    is_list(grants) and List.improper?(grants) == false and length(grants) <= @most and
      Enum.all?(grants, &(is_binary(&1) and String.valid?(&1))) and Enum.uniq(grants) == grants and
      Native.grants_fault(grants) == nil
  end

  @doc "The grant of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(valid?([text]), do: {:ok, [text]}, else: :error)

  @doc "Refuses grants that are not within those that may be had."
  @spec check(t, allowed :: t) :: :ok | {:error, Error.t()}
  def check(grants, allowed) do
    case Native.grants_beyond(grants, allowed) do
      nil ->
        :ok

      grant ->
        message = "this node grants nobody `#{grant}`: its setting `net` says what may be granted"
        {:error, Error.new(:invalid_option, message)}
    end
  end
end
