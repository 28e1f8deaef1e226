defmodule Tidepool.Docs.Settings do
  @moduledoc """
  The tables of docs/configuration.md and those of a deploy's options in docs/http.md, from the schemas. Printed by

      mix run --no-start -r test/docs/settings.exs -e 'Tidepool.Docs.Settings.print()'
  """

  alias Tidepool.Function.{Fields, Spec}

  @doc "Prints all tables."
  def print do
    for schema <- [Tidepool.Config.Schema.settings(), Tidepool.Limits.schema(), Tidepool.Trace.Settings.schema()],
        do: IO.puts([table(schema), "\n"])

    for options <- [Spec.kept(), Spec.of_request()], do: IO.puts([fields(options), "\n"])
  end

  @doc "Options of a deploy as a table, in the words of a form."
  def fields(options) do
    rows =
      for {key, spec} <- options,
          [name] = Fields.names([{key, spec}]),
          do: "| `#{name}` | #{Fields.notation(spec)} | #{left_out(key, spec[:default])} | #{sentence(spec[:doc])} |"

    Enum.join(["| name | allowed | without it | what it is |", "| --- | --- | --- | --- |" | rows], "\n")
  end

  # What is not the same on all nodes, or depends on the module, has no value here.
  defp left_out(:name, _default), do: "the file's name without `.wasm`"
  defp left_out(:operation, _default), do: "the name"
  defp left_out(:host, ["*"]), do: "`*`, or the node's setting"
  defp left_out(:instances, default), do: "`#{default}`, or the node's setting"
  defp left_out(:limits, _default), do: "the node's"
  defp left_out(_key, default) when default in ["", %{}, [], nil], do: "none"
  defp left_out(_key, default) when is_integer(default), do: "`#{number(default)}`"
  defp left_out(_key, default), do: "`#{default}`"

  @doc "A schema as a table."
  def table(schema) do
    rows =
      for {key, spec} <- schema,
          do: "| `#{key}` | #{allowed(spec[:type])} | #{default(key, spec[:default])} | #{sentence(spec[:doc])} |"

    Enum.join(["| setting | allowed | default | what it is |", "| --- | --- | --- | --- |" | rows], "\n")
  end

  defp allowed(:boolean), do: "`true`, `false`"
  defp allowed(:string), do: "a string"
  defp allowed({:integer, min, max}), do: "#{number(min)} to #{number(max)}"
  defp allowed({:one_of, values}), do: Enum.map_join(values, ", ", &"`#{inspect(&1)}`")
  defp allowed({:keyword, _schema}), do: "a keyword list or a map"
  defp allowed({:check, _fun, expectation}), do: expectation

  # What depends on the machine has no figure here.
  defp default(:io_threads, _cores), do: "one for each core"
  defp default(:compile_threads, _cores), do: "one for every two cores"
  defp default(:max_dense_instances, nil), do: "what there is room for"
  defp default(:max_memory, _bytes), do: "three quarters of the machine's memory"
  defp default(:max_code, _bytes), do: "a quarter of the machine's memory"
  defp default(:compile_memory, _bytes), do: "an eighth of the machine's memory"
  defp default(_key, nil), do: "none"
  defp default(_key, value) when is_integer(value), do: "`#{number(value)}`"
  defp default(_key, value), do: "`#{inspect(value)}`"

  # As in Elixir's own source: 4096, 8_388_608.
  defp number(value) when value < 10_000, do: "#{value}"

  defp number(value) do
    value
    |> Integer.digits()
    |> Enum.reverse()
    |> Enum.chunk_every(3)
    |> Enum.map_join("_", &Enum.join/1)
    |> String.reverse()
  end

  defp sentence(text) do
    {first, rest} = String.split_at(text, 1)
    String.upcase(first) <> rest
  end
end
