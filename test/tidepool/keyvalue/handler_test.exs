defmodule Tidepool.Keyvalue.HandlerTest do
  # Not async: the node has one store, by its settings.
  #
  # What a guest is told of a store's own words, whatever these are.
  use Tidepool.Case

  alias Tidepool.Config

  # A store that answers what its argument says.
  defmodule Told do
    @behaviour Tidepool.Keyvalue

    @impl true
    def get(_bucket, _key, answer), do: answer
    @impl true
    def exists(_bucket, _key, answer), do: answer
    @impl true
    def set(_bucket, _key, _value, answer), do: answer
    @impl true
    def delete(_bucket, _key, answer), do: answer
    @impl true
    def list_keys(_bucket, _from, _limit, answer), do: answer
    @impl true
    def increment(_bucket, _key, _delta, answer), do: answer
    @impl true
    def swap(_bucket, _key, _expected, _value, answer), do: answer
  end

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    %{name: deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])}
  end

  defp told(name, answer, line) do
    Config.put(Map.put(:persistent_term.get(Config), :keyvalue, {Told, answer}))
    assert {:ok, "ok\n" <> said} = Tidepool.call(name, :run, ["open a\n" <> line])
    said
  end

  test "a sentence of the store's is told as it is, cut where it is long, and readable where it is no text", %{
    name: name
  } do
    whole = String.duplicate("ü", 512)

    for {sentence, said} <- [
          {"it is kept", "it is kept"},
          {whole, whole},
          {whole <> ".", whole},
          {"a" <> whole, "a" <> String.duplicate("ü", 511)},
          {<<"tide", 255>>, inspect(<<"tide", 255>>)}
        ],
        line <- ["get k", "set k v", "delete k", "add k 1"] do
      assert told(name, {:error, sentence}, line) == "error other " <> said
    end
  end

  test "an answer that is none of the operation's is no guest's to see", %{name: name} do
    for {line, answers} <- [
          {"get k", [{:ok, 1}, {:ok, [""]}, :ok, nil]},
          {"exists k", [{:ok, 1}, {:ok, :none}]},
          {"gets k l", [{:ok, 1}, {:error, 1}]},
          {"set k v", [{:ok, nil}, {:error, :enoent}]},
          {"add k 1", [{:ok, 0x8000_0000_0000_0000}, {:ok, -0x8000_0000_0000_0001}, {:ok, "1"}]},
          {"list", [{:ok, ["a"], nil}, {:ok, [1], false}, {:ok, ["a" | "b"], false}, {:ok, "a", false}]}
        ],
        answer <- answers do
      said = told(name, answer, line)
      assert String.starts_with?(said, "error other the host's handler failed (id"), inspect({line, answer, said})
    end

    for {sum, said} <- [
          {0x7FFF_FFFF_FFFF_FFFF, "9223372036854775807"},
          {-0x8000_0000_0000_0000, "-9223372036854775808"}
        ],
        do: assert(told(name, {:ok, sum}, "add k 1") == said)
  end
end
