defmodule Tidepool.FaultStream do
  @moduledoc """
  Deploys versions of one function without end, on a node that is about to be killed, and keeps a diary of it in a file.

  The diary is written by system calls, so it tells what the node had begun and what it had promised when it died.
  """

  alias Tidepool.FaultVersion

  @doc "Starts to deploy `name`, from the version `first` on."
  def start(name, first, diary) do
    spawn(fn ->
      {:ok, file} = :file.open(diary, [:write, :raw, :binary])
      first |> Stream.iterate(&(&1 + 1)) |> Enum.each(&deploy(name, &1, file))
    end)
  end

  @doc "The module of a version. Every other one has a megabyte to be written."
  def module(version) do
    module = FaultVersion.module(version)
    if rem(version, 2) == 0, do: module, else: FaultVersion.padded(module, 1_000_000)
  end

  @doc "The last version of which the diary says that it was `:begun` or `:done`; `before` if it says nothing."
  def last(diary, what, before) do
    lines = for line <- String.split(File.read!(diary), "\n", trim: true), do: String.split(line, " ")
    versions = for [word, version] <- lines, word == to_string(what), do: String.to_integer(version)
    Enum.max(versions, fn -> before end)
  end

  defp deploy(name, version, file) do
    :ok = :file.write(file, "begun #{version}\n")
    {:ok, %{version: ^version}} = Tidepool.deploy(module(version), name: name)
    :ok = :file.write(file, "done #{version}\n")
  end
end
