defmodule Tidepool.DocumentedTest do
  # The examples in the documentation, and what the documentation promises to be complete about.
  use ExUnit.Case, async: true

  # Every module that has examples, so that none is forgotten.
  {:ok, modules} = :application.get_key(:tidepool, :modules)

  for module <- modules,
      {:docs_v1, _line, _language, _format, moduledoc, _metadata, functions} <- [Code.fetch_docs(module)],
      docs = [moduledoc | for({_function, _line, _signature, doc, _metadata} <- functions, do: doc)],
      Enum.any?(docs, &(match?(%{"en" => _doc}, &1) and &1["en"] =~ "iex>")),
      do: doctest(module)

  test "every module has a documentation, and every documented function a spec" do
    {:ok, modules} = :application.get_key(:tidepool, :modules)
    library = Enum.filter(modules, &(to_string(&1.module_info(:compile)[:source]) =~ ~r{/lib/tidepool}))
    assert library != []

    for module <- library, not function_exported?(module, :__impl__, 1) do
      assert {:docs_v1, _line, _language, _format, doc, _metadata, functions} = Code.fetch_docs(module)
      assert doc != :none, "#{inspect(module)} has no moduledoc"
      {:ok, specs} = Code.Typespec.fetch_specs(module)
      specs = MapSet.new(specs, &elem(&1, 0))

      # `use GenServer` documents a child_spec of its own.
      for {{:function, name, arity}, _line, _signature, %{"en" => _doc}, _metadata} <- functions, name != :child_spec do
        assert MapSet.member?(specs, {name, arity}), "#{inspect(module)}.#{name}/#{arity} has no spec"
      end
    end
  end

  test "the schema of the limits is that of the settings' `limits` and of a deploy's" do
    keys = Keyword.keys(Tidepool.Limits.schema())
    {:keyword, settings} = Tidepool.Config.Schema.settings()[:limits][:type]
    {:keyword, deploy} = Tidepool.Deploy.schema()[:limits][:type]
    assert Keyword.keys(settings) == keys
    assert Keyword.keys(deploy) == keys
  end

  test "h Tidepool.deploy lists every option and limit, h Tidepool.call every option, h Tidepool.Limits every limit" do
    {:docs_v1, _line, _language, _format, %{"en" => limits}, _metadata, _functions} = Code.fetch_docs(Tidepool.Limits)

    for {text, schema} <- [
          {limits, Tidepool.Limits.schema()},
          {doc(:deploy, 2), Tidepool.Limits.schema()},
          {doc(:deploy, 2), Tidepool.Deploy.schema()},
          {doc(:call, 4), timeout: [], context: []}
        ],
        key <- Keyword.keys(schema),
        do: assert(text =~ "\n- `:#{key}` (", "#{key} is not in\n#{text}")
  end

  test "t Tidepool and t Tidepool.Limits have a type of every option and limit" do
    assert options(Tidepool, :deploy_option) == Enum.sort(Keyword.keys(Tidepool.Deploy.schema()))
    assert options(Tidepool, :call_option) == [:context, :timeout]
    assert options(Tidepool.Limits, :option) == Enum.sort(Keyword.keys(Tidepool.Limits.schema()))

    {:type, _line, :map, limits} = type(Tidepool.Limits, :t)
    keys = for {:type, _line, :map_field_exact, [{:atom, _key_line, key}, _type]} <- limits, do: key
    assert Enum.sort(keys) == Enum.sort(Keyword.keys(Tidepool.Limits.schema()))
  end

  defp doc(name, arity) do
    {:docs_v1, _line, _language, _format, _doc, _metadata, functions} = Code.fetch_docs(Tidepool)
    {_key, _line, _signature, %{"en" => text}, _metadata} = List.keyfind(functions, {:function, name, arity}, 0)
    text
  end

  defp type(module, name) do
    {:ok, types} = Code.Typespec.fetch_types(module)
    Enum.find_value(types, fn {_kind, {type, definition, []}} -> type == name && definition end)
  end

  # The keys of a union of pairs; a union of one is no union.
  defp options(module, name) do
    pairs =
      case type(module, name) do
        {:type, _line, :union, pairs} -> pairs
        pair -> [pair]
      end

    pairs |> Enum.map(fn {:type, _line, :tuple, [{:atom, _key_line, key}, _value]} -> key end) |> Enum.sort()
  end
end
