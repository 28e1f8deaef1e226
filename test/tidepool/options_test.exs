defmodule Tidepool.OptionsTest do
  use ExUnit.Case, async: true

  import Tidepool.Property

  alias Tidepool.{Error, Options}

  doctest Tidepool.Options

  @schema [
    name: [type: :string, doc: "a name."],
    size: [type: {:integer, 1, 9}, default: 5, doc: "a size."],
    count: [type: {:integer, 0, :infinity}, default: 0, doc: "a count."],
    mode: [type: {:one_of, [:slow, :fast]}, default: :slow, doc: "a mode."],
    flag: [type: :boolean, default: false, doc: "a flag."],
    note: [type: :string, default: nil, doc: "a note."],
    even: [type: {:check, &Tidepool.OptionsTest.even?/1, "an even number"}, default: 2, doc: "even."],
    inner: [type: {:keyword, [depth: [type: {:integer, 1, 3}, default: 1, doc: "a depth."]]}, default: [], doc: "more."]
  ]

  def even?(value), do: is_integer(value) and rem(value, 2) == 0

  defp check(options), do: Options.check(options, @schema, "the option")

  test "defaults fill what is left out" do
    assert check(name: "n") ==
             {:ok, %{name: "n", size: 5, count: 0, mode: :slow, flag: false, note: nil, even: 2, inner: %{depth: 1}}}
  end

  test "an option without a default is needed" do
    assert {:error, %Error{reason: :invalid_option, message: message}} = check(size: 1)
    assert message =~ ":name"
  end

  test "nil is allowed where it is the default, and nowhere else" do
    assert {:ok, %{note: nil}} = check(name: "n", note: nil)

    for key <- [:name, :size, :mode, :flag, :even],
        do: assert({:error, %Error{}} = check([{key, nil} | [name: "n"] -- [{key, "n"}]]))
  end

  test "each type takes its values and refuses all others" do
    for {key, good, bad} <- [
          {:name, ["a", "é"], ["", :a, ~c"a", <<255>>, 5]},
          {:size, [1, 9], [0, 10, 1.0, "5"]},
          {:count, [0, 1_000_000_000_000], [-1, :infinity]},
          {:mode, [:slow, :fast], [:medium, "slow"]},
          {:flag, [true, false], ["true", 1]},
          {:even, [0, 4], [1, "2"]},
          {:inner, [[], [depth: 3]], [[depth: 4], [deep: 1], :none, 5]}
        ] do
      for value <- good, do: assert({:ok, %{^key => _value}} = check(Keyword.put([name: "n"], key, value)))

      for value <- bad do
        assert {:error, %Error{reason: :invalid_option, message: message}} = check(Keyword.put([name: "n"], key, value))
        assert message =~ inspect(key)
      end
    end
  end

  test "what is no keyword list is refused" do
    for options <- [[:name], [{"name", "n"}], [1 | 2], %{name: "n"}, "name", nil] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = check(options)
      assert message =~ "the options have to be a keyword list, and are #{inspect(options)}"
    end
  end

  test "inner options may be a map, and what is wrong with them is said of them" do
    assert {:ok, %{inner: %{depth: 3}}} = check(name: "n", inner: %{depth: 3})
    assert {:ok, %{inner: %{depth: 1}}} = check(name: "n", inner: %{})

    for {inner, sentence} <- [
          {%{depth: 4}, "the option :depth of :inner has to be an integer from 1 to 3, and is 4"},
          {[depth: 4], "the option :depth of :inner has to be an integer from 1 to 3, and is 4"},
          {[dept: 1], "the option :dept of :inner is unknown: did you mean :depth?"},
          {%{"depth" => 1}, ~s|the option :inner has to be a keyword list or a map, and is %{"depth" => 1}|},
          {5, "the option :inner has to be a keyword list or a map, and is 5"},
          {[:depth], "the option :inner has to be a keyword list or a map, and is [:depth]"},
          {1..2, "the option :inner has to be a keyword list or a map, and is 1..2"}
        ] do
      assert {:error, %Error{message: ^sentence}} = check(name: "n", inner: inner)
    end
  end

  test "an option that is missing is said to be so, with what it has to be" do
    assert {:error, %Error{message: message}} = check(size: 1)
    assert message == "the option :name is missing, and has to be a string that is not empty"
  end

  test "an unknown option is refused: a near miss with a suggestion, another with all that are known" do
    assert {:error, %Error{message: near}} = check(name: "n", sise: 3)
    assert near =~ "did you mean :size?"
    assert {:error, %Error{message: far}} = check(name: "n", zzz: 3)
    for key <- Keyword.keys(@schema), do: assert(far =~ inspect(key))
  end

  test "the documentation has every option with type, default and text" do
    docs = Options.docs(@schema)
    assert docs =~ "- `:name` (a string that is not empty): a name.\n"
    assert docs =~ "- `:size` (an integer from 1 to 9): a size. Default `5`."
    assert docs =~ "- `:mode` (one of :slow, :fast): a mode. Default `:slow`."
    assert length(String.split(docs, "\n")) == length(@schema)
  end

  test "property: whatever the value is, it is taken as it is or refused, never changed and never crashed over" do
    keys = types().oneof(Keyword.keys(@schema))

    assert_holds(types().list(types().tuple([keys, types().any()])), fn options ->
      options = Enum.uniq_by(options, &elem(&1, 0))

      case check(options) do
        {:ok, checked} ->
          Map.keys(checked) |> Enum.sort() == Keyword.keys(@schema) |> Enum.sort() and
            Enum.all?(options, fn {key, value} -> key == :inner or checked[key] == value end)

        {:error, %Error{reason: :invalid_option, message: message}} ->
          String.valid?(message)
      end
    end)
  end

  test "no complaint shows the value of an option that is secret" do
    schema = [token: [type: :string, default: nil, secret: true, doc: ""]]
    assert {:ok, %{token: "s3cret"}} = Options.check([token: "s3cret"], schema, "the option")
    assert {:ok, %{token: nil}} = Options.check([], schema, "the option")

    for value <- [<<"s3cret", 255>>, ~c"s3cret", {"s3cret"}] do
      assert {:error, %Error{message: message}} = Options.check([token: value], schema, "the option")
      assert message == "the option :token has to be a string that is not empty"
    end
  end

  test "property: a wrong name is refused, and every value of the right type taken" do
    assert_holds(types().integer(1, 9), fn size -> match?({:ok, %{size: ^size}}, check(name: "n", size: size)) end)

    assert_holds(types().atom(), fn key ->
      key in Keyword.keys(@schema) or match?({:error, _error}, check([{key, 1}]))
    end)
  end
end
