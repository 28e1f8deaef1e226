defmodule Tidepool.Process.Start do
  @moduledoc "What a start of a program may say: its options, checked before a process is made for it."

  alias Tidepool.{Catalog, Config, Error, Function}
  alias Tidepool.Function.Folders

  @options [:entry, :env, :files, :output, :stdio, :cpu_time, :total_cpu_time, :node]
  # A year.
  @longest_ms 31_536_000_000

  @doc "The options of a start as the native library has them, with the node that it is for as `:on`."
  @spec check(String.t(), [String.t()], [Tidepool.Process.option()]) :: {:ok, map} | {:error, Error.t()}
  def check(name, args, options) do
    with {:ok, native} <- read(name, args, options), :ok <- check_files(name, native), do: {:ok, native}
  end

  defp read(name, args, options) do
    output = Keyword.get(options, :output, :log)
    times = Keyword.take(options, [:cpu_time, :total_cpu_time])
    on = Keyword.get(options, :node, node())

    native = %{
      entry: Keyword.get(options, :entry, "_start"),
      args: args,
      env: Keyword.get(options, :env, %{}),
      files: Keyword.get(options, :files, %{}),
      output: if(is_pid(output), do: output),
      stdio: options[:stdio],
      cpu_time: times[:cpu_time],
      total_cpu_time: times[:total_cpu_time],
      on: on
    }

    cond do
      unknown = Enum.find(Keyword.keys(options), &(&1 not in @options)) ->
        invalid(name, "there is no option #{inspect(unknown)} of a process; there are #{inspect(@options)}")

      not (is_list(args) and Enum.all?(args, &text?/1)) ->
        invalid(name, "the arguments of a process have to be a list of strings without a zero byte")

      not (is_map(native.env) and Enum.all?(native.env, fn {key, value} -> variable?(key) and text?(value) end)) ->
        invalid(name, "the option :env has to be a map of strings without a zero byte, and their names without a =")

      not (is_map(native.files) and Enum.all?(native.files, fn {path, bytes} -> text?(path) and is_binary(bytes) end)) ->
        invalid(name, "the option :files has to be a map of paths and binaries")

      not text?(native.entry) ->
        invalid(name, "the option :entry has to be the name of an export")

      not (is_atom(on) and on not in [nil, true, false]) ->
        invalid(name, "the option :node has to be the name of a node")

      not (output == :log or (is_pid(output) and node(output) == on)) ->
        invalid(name, "the option :output has to be :log or a pid of the program's node")

      not (native.stdio == nil or (is_pid(native.stdio) and node(native.stdio) == on)) ->
        invalid(name, "the option :stdio has to be a pid of the program's node")

      wrong = Enum.find(times, fn {_key, time} -> not (time == nil or time in 1..@longest_ms) end) ->
        invalid(name, "the option #{inspect(elem(wrong, 0))} has to be a number of ms from 1 to #{@longest_ms}")

      true ->
        {:ok, native}
    end
  end

  # What the function's folders are, is the deploy's to say; what is deployed under another node's settings may not fit this one's.
  # A program of another node gets an error of each file that its node has not.
  defp check_files(name, %{files: files, on: on}) do
    with {:ok, %Function{files: folders}} <- fetch(name),
         known = if(on == node(), do: Map.keys(Config.get(:files)), else: Folders.hosts(folders)),
         :ok <- Folders.check(folders, known),
         {:file, nil} <- {:file, Enum.find(Map.keys(files), &(not Folders.in_memory?(folders, &1)))} do
      :ok
    else
      :unknown ->
        :ok

      {:file, path} ->
        invalid(name, "#{inspect(path)} is in no folder that the function has in memory, such as \"/data=memory\"")

      {:error, error} ->
        {:error, %{error | function: name}}
    end
  end

  # The start itself says what is wrong with the name.
  defp fetch(name), do: with({:error, _reason} <- Catalog.fetch(name), do: :unknown)

  @doc "May it be an argument, or a name?"
  @spec text?(term) :: boolean
  def text?(text), do: is_binary(text) and String.valid?(text) and not String.contains?(text, <<0>>)

  defp variable?(name), do: text?(name) and name != "" and not String.contains?(name, "=")

  defp invalid(name, message), do: {:error, Error.new(:invalid_option, message, name)}
end
