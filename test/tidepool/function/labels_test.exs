defmodule Tidepool.Function.LabelsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Catalog, Deploy, Error, Function}
  alias Tidepool.Function.{Fields, Labels, Spec}

  doctest Labels

  # 200 characters and 63 bytes, of which none is one byte.
  @longest String.duplicate("é", 200)
  @long_value String.duplicate("é", 31) <> "x"

  setup do
    name = unique_name("labelled")
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name, wasm: guest("rust", "hello_world")}
  end

  test "description and labels are the function's, and other ones are another version", %{name: name, wasm: wasm} do
    assert {:ok, %Function{version: 1, description: "", labels: labels}} = Tidepool.deploy(wasm, name: name)
    assert labels == %{}

    options = [name: name, description: @longest, labels: %{"team" => "shop", "beta" => "", "a.b-c_1" => @long_value}]
    assert {:ok, %Function{version: 2} = function} = Tidepool.deploy(wasm, options)
    assert Map.take(function, [:description, :labels]) == Map.new(Keyword.delete(options, :name))
    assert {:ok, _function, :unchanged, nil} = Deploy.run(wasm, options)
    assert function in Tidepool.list()
    assert {:ok, %Function{version: 3, description: ""}} = Tidepool.deploy(wasm, Keyword.delete(options, :description))
  end

  test "a removal can be told to nodes of an earlier version, whatever is removed", %{name: name, wasm: wasm} do
    assert {:ok, _function} = Tidepool.deploy(wasm, name: name, description: "d", labels: %{"team" => "shop"})
    known = fn -> Enum.find(elem(Catalog.known(), 1), &(&1.name == name)) end
    assert Spec.version(known.()) == 3
    :ok = Tidepool.remove(name)
    assert %{removed: true} = known.()
    assert Spec.version(known.()) == 2
  end

  test "what is no line of 200 characters, or no such label, is refused, and nothing is deployed", context do
    many = Map.new(1..17, &{"key#{&1}", ""})

    for {option, expected} <- [
          {{:description, @longest <> "x"}, "a line of at most 200 characters"},
          # One of what readers call characters, and thousands of Unicode's.
          {{:description, "e" <> String.duplicate("\u0301", 3_000)}, "a line of at most 200 characters"},
          {{:description, nil}, "a line of"},
          {{:description, ~c"charlist"}, "a line of"},
          {{:labels, many}, "a map of at most 16 labels"},
          {{:labels, [{"team", "shop"}]}, "a map of"},
          {{:labels, nil}, "a map of"},
          # Maps to the VM, of which JSON knows nothing.
          {{:labels, MapSet.new([{"team", "shop"}])}, "a map of"},
          {{:labels, MapSet.new(["team"])}, "a map of"},
          {{:labels, ~D[2000-01-01]}, "a map of"},
          {{:labels, 1..3}, "a map of"}
          | for(
              text <- ["a\nb", "a\0", "\d", "\u0085", "\u2028", "\u2029", <<255>>],
              do: {{:description, text}, "a line of"}
            ) ++
              for(
                label <- [
                  {"", "x"},
                  {"Team", "shop"},
                  {"te am", "shop"},
                  {"team\n", "shop"},
                  {"a:b", "c"},
                  {"é", ""},
                  {String.duplicate("k", 64), ""},
                  {:team, "shop"},
                  {"team", :shop},
                  {"team", nil},
                  {"team", @long_value <> "x"},
                  {"team", "a\nb"},
                  {"team", <<255>>}
                ],
                do: {{:labels, Map.new([label])}, "a map of at most 16 labels: keys of 1 to 63"}
              )
        ] do
      assert {:error, %Error{reason: :invalid_option, details: %{step: :options}} = error} =
               Tidepool.deploy(context.wasm, [option, name: context.name])

      assert error.message =~ "the option #{inspect(elem(option, 0))} has to be #{expected}"
    end

    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(context.name)
  end

  test "a label is one field, given again for each, and there are 16 of them at most" do
    fields = for n <- 1..16, do: {"label", "key#{n}:a:b #{n}"}
    assert {:ok, [labels: labels]} = Fields.read(fields, Spec.kept())
    assert labels == Map.new(1..16, &{"key#{&1}", "a:b #{&1}"})

    assert Fields.read([{"label", "team"}, {"label", "tier:"}], Spec.kept()) ==
             {:ok, [labels: %{"team" => "", "tier" => ""}]}

    for {more, reason} <- [
          {{"label", "key17"}, :invalid_option},
          {{"label", "key1:other"}, :duplicate_field},
          {{"label", "Key"}, :invalid_option},
          {{"label", ":x"}, :invalid_option},
          {{"label", ""}, :invalid_option},
          {{"label", "x:" <> String.duplicate("y", 5_000)}, :invalid_field},
          {{"labels", "{}"}, :unknown_field}
        ] do
      assert {:error, %Error{reason: ^reason, message: message}} = Fields.read(fields ++ [more], Spec.kept())
      assert message =~ "label"
    end
  end

  test "what selects functions is bounded as labels are" do
    assert {:ok, selectors} = Labels.select(["team:shop", "beta", "tier:", "beta"])
    assert Labels.selected?(%{"team" => "shop", "beta" => "x", "tier" => "", "more" => "1"}, selectors)

    for labels <- [%{}, %{"team" => "shop", "beta" => "x"}, %{"team" => "shops", "beta" => "", "tier" => ""}],
        do: refute(Labels.selected?(labels, selectors))

    assert {:ok, []} = Labels.select([])
    assert {:ok, _sixteen} = Labels.select(for n <- 1..16, do: "key#{n}")

    for texts <- [["Team:shop"], [""], for(n <- 1..17, do: "key#{n}"), for(n <- 1..9_000, do: "#{n}")] do
      assert {:error, %Error{reason: :invalid_option, message: "the parameter `label` has to be " <> _more}} =
               Labels.select(texts)
    end
  end
end
