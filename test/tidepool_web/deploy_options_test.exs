defmodule TidepoolWeb.DeployOptionsTest do
  use Tidepool.Case, async: true

  alias Tidepool.Function.{Fields, Spec}
  alias Tidepool.Limits

  setup_all do
    {200, _headers, options} = curl("/deploy/options")
    %{options: options}
  end

  test "every option of the schema is told, as the form and the query have it", %{options: options} do
    for {group, schema} <- [{"form", Spec.kept()}, {"query", Spec.of_request()}] do
      assert Enum.map(options[group], & &1["name"]) == Fields.names(schema)

      for option <- options[group] do
        assert %{"doc" => <<first::utf8, _rest::binary>>, "notation" => notation, "kind" => kind} = option
        assert String.upcase(<<first::utf8>>) == <<first::utf8>>
        assert notation != ""
        assert kind in ~w(text choice integer members)
      end
    end
  end

  test "what has members tells all of them, with this node's defaults", %{options: options} do
    limits = Enum.find(options["form"], &(&1["name"] == "limits"))
    assert Map.new(limits["members"], &{&1["name"], &1["default"]}) |> Map.keys() == names(Limits.schema())

    assert %{"kind" => "integer", "min" => 1, "max" => 86_400_000} =
             Enum.find(limits["members"], &(&1["name"] == "time"))

    assert %{"default" => default} = Enum.find(limits["members"], &(&1["name"] == "memory"))
    assert default == Tidepool.Config.get(:limits).memory
    assert %{"optional" => true, "members" => [_first | _more]} = Enum.find(options["form"], &(&1["name"] == "actor"))
  end

  test "a default is what the form takes", %{options: options} do
    defaults = for %{"default" => text, "name" => name} <- options["form"], is_binary(text), do: {name, text}
    assert {"instances", "fresh"} in defaults and {"engine", "fast"} in defaults and {"snapshot", "true"} in defaults
    assert {:ok, _read} = Fields.read(defaults, Spec.kept())
  end

  defp names(schema), do: schema |> Keyword.keys() |> Enum.map(&to_string/1) |> Enum.sort()
end
