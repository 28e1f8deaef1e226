defmodule Tidepool.Function.HostGrants do
  @moduledoc """
  What of its host a function may ask, by the names of host functions (`Tidepool.Host`): a list of texts
  `BINDING/NAMESPACE/OPERATION`, such as `shop/prices/get` or `redis/*/GET`. A part that ends in `*` is granted with whatever
  begins so, and the operation is all behind the second slash. `*` is all there is; `none` is nothing.

  The library reads them, and asks them before the host hears of a call. What is refused is an error in the guest.
  """

  alias Tidepool.Native

  @type t :: [String.t(), ...]

  @doc "What a list of grants has to be."
  @spec expectation :: String.t()
  def expectation, do: "a list of 1 to 64 grants such as \"shop/prices/get\" or \"redis/*/GET\", [\"*\"] or [\"none\"]"

  @doc "What the text of one grant has to be."
  @spec notation :: String.t()
  def notation,
    do: "`BINDING/NAMESPACE/OPERATION`, of which parts may end in `*`; `*` for all, `none` for nothing; 64 at most"

  @doc """
  Can a function have these grants?

      iex> alias Tidepool.Function.HostGrants
      iex> Enum.map([["*"], ["none"], ["shop/prices/*", "redis/*/GET"]], &HostGrants.valid?/1)
      [true, true, true]
      iex> Enum.map([[], ["shop"], ["none", "a/b/c"], ["a/b/c", "a/b/c"], "*"], &HostGrants.valid?/1)
      [false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(grants) do
    is_list(grants) and List.improper?(grants) == false and Enum.all?(grants, &(is_binary(&1) and String.valid?(&1))) and
      Enum.uniq(grants) == grants and Native.host_grants_fault(grants) == nil
  end

  @doc "The grant of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(valid?([text]), do: {:ok, [text]}, else: :error)

  @doc """
  The first grant that is not within one of those that are allowed; `nil` when all are.

      iex> alias Tidepool.Function.HostGrants
      iex> Enum.map([["none"], ["a/b/c"], ["a/b*/c", "a/bc/*"], ["*"]], &HostGrants.beyond(&1, ["a/b*/*"]))
      [nil, nil, nil, "*"]
      iex> Enum.map([["a/*/c"], ["a/b/c", "ab/b/c"]], &HostGrants.beyond(&1, ["a/b*/*", "none"]))
      ["a/*/c", "ab/b/c"]
  """
  @spec beyond(t, allowed :: [String.t()]) :: String.t() | nil
  def beyond(grants, allowed), do: Enum.find(grants, fn grant -> not Enum.any?(allowed, &within?(grant, &1)) end)

  defp within?("none", _allowed), do: true
  defp within?(_grant, "*"), do: true
  defp within?(grant, allowed) when "*" == grant or "none" == allowed, do: false
  defp within?(grant, allowed), do: Enum.all?(Enum.zip(parts(grant), parts(allowed)), &part_within?/1)

  defp parts(grant), do: String.split(grant, "/", parts: 3)

  defp part_within?({part, allowed}) do
    case String.split_at(allowed, -1) do
      {beginning, "*"} -> String.starts_with?(String.replace_suffix(part, "*", ""), beginning)
      _whole -> part == allowed
    end
  end

  @doc "What a function has whose deploy does not say, by the node's setting `host`."
  @spec default(:all | :none) :: t
  def default(:all), do: ["*"]
  def default(:none), do: ["none"]
end
