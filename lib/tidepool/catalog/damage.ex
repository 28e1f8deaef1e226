defmodule Tidepool.Catalog.Damage do
  @moduledoc """
  What becomes of a catalog's file that is damaged: it is named, and kept as it is under a name of its own.

  While such a file is there nothing that no known function uses is removed, for a function that is not known any more may
  use it. It is for the node's operator to say that nothing more is to be had from it, by removing it.
  """

  alias Tidepool.Error
  alias Tidepool.Catalog.{BlobStore, Log, Record}

  # So many are named one by one.
  @named 50

  @doc "Keeps the bytes of a damaged file at `path`, beside it and flushed, unless they are kept already. Where they are."
  @spec keep(Path.t(), binary) :: {:ok, Path.t()} | {:error, Error.t()}
  def keep(path, bytes) do
    kept = kept(path)

    case Enum.find(kept, &(File.read(&1) == {:ok, bytes})) do
      nil ->
        aside = 0 |> Stream.iterate(&(&1 + 1)) |> Stream.map(&aside(path, &1)) |> Enum.find(&(&1 not in kept))
        with :ok <- BlobStore.write(aside, bytes), do: {:ok, aside}

      same ->
        {:ok, same}
    end
  end

  @doc "The files that were kept."
  @spec kept(Path.t()) :: [Path.t()]
  def kept(path) do
    case File.ls(Path.dirname(path)) do
      {:ok, names} ->
        aside = Path.basename(aside(path, 0))

        for name <- Enum.sort(names),
            String.starts_with?(name, aside) and not String.ends_with?(name, ".new"),
            do: Path.join(Path.dirname(path), name)

      {:error, _reason} ->
        []
    end
  end

  defp aside(path, 0), do: path <> ".torn"
  defp aside(path, number), do: "#{path}.torn.#{number}"

  @doc """
  The versions that damaged records in files that were kept had, by function: the next one is higher, though nothing else of
  them is known.
  """
  @spec versions([Path.t()]) :: %{String.t() => pos_integer}
  def versions(kept) do
    for path <- kept,
        {:ok, bytes} <- [File.read(path)],
        {_records, damage} = Record.decode(bytes),
        %{functions: functions} <- damage,
        {name, version} when version != nil <- functions,
        reduce: %{} do
      versions -> Map.update(versions, name, version, &max(&1, version))
    end
  end

  @doc "What is damaged in the file at `path`, in sentences."
  @spec describe(Path.t(), [Log.damage()]) :: [String.t()]
  def describe(path, damage) do
    {named, more} = Enum.split(damage, @named)
    sentences = for one <- named, do: "#{path}: #{sentence(one)}"
    if more == [], do: sentences, else: sentences ++ ["#{path}: damaged in #{length(more)} more places"]
  end

  defp sentence(%{what: :missing}), do: "it is missing or empty, and all that it said is lost"

  defp sentence(%{what: :cut} = cut),
    do: "#{cut.bytes} bytes are missing from byte #{cut.at} on, and the functions that were there"

  defp sentence(%{what: :foreign}), do: "this is not the file that this node has written, but another one"
  defp sentence(%{what: :mended} = damage), do: "#{where(damage)} were damaged and could be put right#{which(damage)}"
  defp sentence(%{what: :lost} = damage), do: "#{where(damage)} are damaged, and what they said is lost#{which(damage)}"

  defp sentence(%{what: :unknown} = damage),
    do: "#{where(damage)} are a record that this version of Tidepool can't read#{which(damage)}"

  defp where(%{at: at, bytes: bytes}), do: "bytes #{at} to #{at + bytes - 1}"

  defp which(%{functions: []}), do: ""

  defp which(%{functions: functions}) do
    ": " <>
      Enum.map_join(functions, ", ", fn {name, version} ->
        "the function #{name}" <> if(version, do: " (version #{version})", else: "")
      end)
  end
end
