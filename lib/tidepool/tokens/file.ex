defmodule Tidepool.Tokens.File do
  @moduledoc """
  The tokens that a node knows, in a file of its data folder: written whole at each change, beside its place, and renamed.

  One that can't be read is set aside, and the node goes on without: tokens that it had are refused until another node tells of
  them, or they are made anew.
  """

  require Logger

  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Error
  alias Tidepool.Tokens.Token

  @format 1
  @name "tokens"

  @doc "What the file is called."
  @spec name :: String.t()
  def name, do: @name

  @doc "The tokens that were kept in a folder."
  @spec read(folder :: Path.t()) :: [Token.t()]
  def read(folder) do
    path = Path.join(folder, @name)

    with {:ok, <<@format, crc::32, bytes::binary>>} <- File.read(path),
         true <- :erlang.crc32(bytes) == crc,
         {:ok, tokens} <- decode(bytes) do
      tokens
    else
      {:error, :enoent} ->
        []

      _damaged ->
        aside = path <> ".damaged"
        _renamed = BlobStore.rename(path, aside)

        Logger.error(
          "#{path} can't be read and was set aside as #{aside}: tokens that other nodes don't know have to be made anew"
        )

        []
    end
  end

  defp decode(bytes) do
    # Whose atoms there may be.
    Code.ensure_loaded!(Token)
    tokens = :erlang.binary_to_term(bytes, [:safe])
    tokens = if is_list(tokens), do: Enum.map(tokens, &Token.upgrade/1), else: tokens
    if is_list(tokens) and Enum.all?(tokens, &Token.valid?/1), do: {:ok, tokens}, else: :error
  rescue
    ArgumentError -> :error
  end

  @doc "Keeps these, and no others."
  @spec write(folder :: Path.t(), [Token.t()]) :: :ok | {:error, Error.t()}
  def write(folder, tokens) do
    bytes = :erlang.term_to_binary(tokens)
    BlobStore.write(Path.join(folder, @name), [@format, <<:erlang.crc32(bytes)::32>>, bytes])
  end
end
