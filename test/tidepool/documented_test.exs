defmodule Tidepool.DocumentedTest do
  # The examples in the documentation, and what the documentation promises to be complete about.
  use ExUnit.Case, async: true

  doctest Tidepool.Deploy
  doctest Tidepool.Timer
  doctest TidepoolWeb.Form

  test "every module has a documentation, and every documented function a spec" do
    {:ok, modules} = :application.get_key(:tidepool, :modules)
    library = Enum.filter(modules, &(to_string(&1.module_info(:compile)[:source]) =~ ~r{/lib/tidepool}))
    assert library != []

    for module <- library do
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
    {:keyword, settings} = Tidepool.Config.schema()[:limits][:type]
    {:keyword, deploy} = Tidepool.Deploy.schema()[:limits][:type]
    assert Keyword.keys(settings) == keys
    assert Keyword.keys(deploy) == keys
  end
end
