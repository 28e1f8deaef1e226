defmodule Tidepool.Actor.Journal.Differing do
  @moduledoc """
  Actors that several exports have, each in another state: of nodes that kept copies of each other's actors by a release before, or of
  nodes that had nothing to do with each other.

  A state that has seen another one is later than that, and of two that have not seen each other the one whose last write was later
  (`Tidepool.Actor.Journal.VersionVector`). A state that no such node has written counts as seen by all others; of two such the first file's is
  taken. What is not taken is put beside its file, and nothing is dropped but what is the same.
  """

  alias Tidepool.Actor.Journal.{Record, VersionVector}
  alias Tidepool.{Error, Native}

  @typedoc "An actor of which the file `kept` has the later state; that of the file `of` is in the file `differing`."
  @type t :: %{class: String.t(), name: String.t(), kept: Path.t(), of: Path.t(), differing: Path.t()}

  @doc """
  What is left out of each file when all are imported together, and the actors whose states differ. The states that are left out are in files
  of their own by then, `FILE.differing`; an error says that one of these is there already, or can't be written, and then none is.
  """
  @spec aside([Path.t()]) ::
          {:ok, [{Path.t(), left_out :: [Native.record_key()]}], [t]} | {:error, Error.t()}
  def aside([file]), do: {:ok, [{file, []}], []}

  def aside(files) do
    with {:ok, found} <- told(Native.differing_records(files)),
         {:ok, decided} <- decided(found, files) do
      left_out = for {lost, _differs?} <- decided, do: {lost.of, {lost.class, lost.name}}
      left_out = Enum.group_by(left_out, &elem(&1, 0), &elem(&1, 1))
      differing = for {lost, true} <- decided, do: lost
      parts = for file <- files, do: {file, Map.get(left_out, file, [])}
      with :ok <- write(Enum.group_by(differing, & &1.of), []), do: {:ok, parts, differing}
    end
  end

  # The states that are not taken, and whether they differ from the one that is.
  defp decided(found, files) do
    Enum.reduce_while(found, {:ok, []}, fn {class, name, states}, {:ok, decided} ->
      with {:ok, [first | others]} <- read(states, class, name) do
        kept = Enum.reduce(others, first, &later/2)

        lost =
          for state <- [first | others], state.file != kept.file do
            [of, kept_in] = for %{file: file} <- [state, kept], do: Enum.at(files, file)
            lost = %{class: class, name: name, kept: kept_in, of: of, differing: of <> ".differing"}
            {lost, not same?(state, kept)}
          end

        {:cont, {:ok, lost ++ decided}}
      else
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp read(states, class, name) do
    Enum.reduce_while(states, {:ok, []}, fn {file, head, rest}, {:ok, read} ->
      case Record.read(head, class, name) do
        {:ok, record} -> {:cont, {:ok, read ++ [%{file: file, record: record, rest: rest}]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  # Of the same the one that came before.
  defp later(state, kept) do
    {one, other} = {state.record.vector, kept.record.vector}

    case VersionVector.compare(one, other) do
      :after -> state
      :apart -> if VersionVector.later?(one, other), do: state, else: kept
      _same_or_before -> kept
    end
  end

  # A copy may have its image in other parts. What no such node has written has no vector, so another of these may be anything.
  defp same?(%{record: one} = state, %{record: other} = kept) do
    (one.vector != VersionVector.none() and VersionVector.compare(one.vector, other.vector) == :same) or
      (%{one | vector: other.vector} == other and state.rest == kept.rest)
  end

  defp write(by_file, _written) when by_file == %{}, do: :ok

  defp write(by_file, written) do
    {file, [%{differing: to} | _others] = lost} = Enum.at(by_file, 0)

    case told(Native.part_of_records(file, for(one <- lost, do: {one.class, one.name}), to)) do
      {:ok, _moved} ->
        write(Map.delete(by_file, file), [to | written])

      {:error, error} ->
        drop(written)
        {:error, error}
    end
  end

  @doc "Has the files gone that were written for an import which has failed."
  @spec withdraw([t]) :: :ok
  def withdraw(differing), do: differing |> Enum.map(& &1.differing) |> Enum.uniq() |> drop()

  defp drop(files), do: Enum.each(files, &File.rm/1)

  defp told({:ok, found}), do: {:ok, found}
  defp told({:error, _kind, message}), do: {:error, Error.new(:no_store, message)}
end
