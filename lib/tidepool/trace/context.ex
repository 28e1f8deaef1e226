defmodule Tidepool.Trace.Context do
  @moduledoc """
  Where in a trace a process is, after the W3C's Trace Context: kept in its dictionary, and written as the header `traceparent`.
  """

  @key __MODULE__

  @typedoc "`span_id` is `nil` where the edge has decided that a trace begins; `remote?`: what is around it is elsewhere."
  @type t :: %__MODULE__{
          trace_id: <<_::128>>,
          span_id: <<_::64>> | nil,
          sampled?: boolean,
          remote?: boolean
        }

  @enforce_keys [:trace_id, :span_id, :sampled?]
  defstruct @enforce_keys ++ [remote?: false]

  @doc "That of this process."
  @spec get :: t | nil
  def get, do: Process.get(@key)

  @doc "Sets it; `nil` removes it."
  @spec put(t | nil) :: :ok
  def put(context) do
    if context, do: Process.put(@key, context), else: Process.delete(@key)
    :ok
  end

  @doc "A trace that begins here. By its id, of many the given share is recorded."
  @spec root(share :: float) :: t
  def root(share) do
    <<_high::64, low::53, _rest::11>> = trace_id = id(16)
    %__MODULE__{trace_id: trace_id, span_id: id(8), sampled?: low < share * 0x20_0000_0000_0000}
  end

  @doc "A trace of which the edge has decided whether it is recorded; if so its first span is still to begin."
  @spec decided(sampled? :: boolean) :: t
  def decided(true), do: %__MODULE__{trace_id: id(16), span_id: nil, sampled?: true, remote?: true}
  def decided(false), do: %__MODULE__{trace_id: id(16), span_id: id(8), sampled?: false, remote?: true}

  @doc "A span in it."
  @spec child(t) :: t
  def child(context), do: %{context | span_id: id(8), remote?: false}

  @doc """
  As a header.

      iex> header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      iex> header |> Tidepool.Trace.Context.parse() |> Tidepool.Trace.Context.header()
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  """
  @spec header(t) :: String.t() | nil
  def header(%{span_id: nil}), do: nil

  def header(context),
    do: "00-#{hex(context.trace_id)}-#{hex(context.span_id)}-#{if context.sampled?, do: "01", else: "00"}"

  @doc """
  What a header says; `nil` of one that is none.

      iex> Tidepool.Trace.Context.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").sampled?
      false
      iex> Tidepool.Trace.Context.parse("00-00000000000000000000000000000000-b7ad6b7169203331-00")
      nil
      iex> Tidepool.Trace.Context.parse("what")
      nil
  """
  @spec parse(term) :: t | nil
  def parse(<<version::binary-2, "-", trace::binary-32, "-", span::binary-16, "-", flags::binary-2, rest::binary>>) do
    with {:ok, <<version>>} when version != 0xFF <- bytes(version),
         true <- rest == "" or (version > 0 and String.starts_with?(rest, "-")),
         {:ok, trace_id} when trace_id != <<0::128>> <- bytes(trace),
         {:ok, span_id} when span_id != <<0::64>> <- bytes(span),
         {:ok, <<_others::7, sampled::1>>} <- bytes(flags) do
      %__MODULE__{trace_id: trace_id, span_id: span_id, sampled?: sampled == 1, remote?: true}
    else
      _other -> nil
    end
  end

  def parse(_other), do: nil

  @doc "An id as text."
  @spec hex(binary) :: String.t()
  def hex(id), do: Base.encode16(id, case: :lower)

  defp bytes(digits), do: Base.decode16(digits, case: :lower)

  # Not `:rand`, whose state in this process is somebody else's.
  defp id(bytes), do: :crypto.strong_rand_bytes(bytes)
end
