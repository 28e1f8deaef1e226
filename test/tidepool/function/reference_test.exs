defmodule Tidepool.Function.ReferenceTest do
  use ExUnit.Case, async: true

  alias Tidepool.Function.Reference
  alias Tidepool.Function.Reference.Registries

  doctest Reference
  doctest Registries

  test "what is kept of the longest reference that there is, with its digest, is a reference" do
    longest = "oci://#{String.duplicate("a", 255)}:65535/#{String.duplicate("b", 255)}:#{String.duplicate("c", 128)}"
    assert {:ok, reference} = Reference.parse(longest)
    kept = Reference.text(%{reference | digest: String.duplicate("0a", 32)})
    assert {:ok, %Reference{}} = Reference.parse(kept)

    for {from, to} <- [{"a:", "aa:"}, {"b:", "bb:"}, {"c", "cc"}, {"65535", "65536"}],
        do: assert(Reference.parse(String.replace(longest, from, to, global: false)) == :error)
  end

  test "what a reference is as text is what it was read from" do
    for which <- [":1", "@sha256:#{String.duplicate("0a", 32)}", ":1@sha256:#{String.duplicate("0a", 32)}"] do
      text = "oci://a.example:5000/b/c#{which}"
      assert {:ok, reference} = Reference.parse(text)
      assert Reference.text(reference) == text
    end
  end
end
