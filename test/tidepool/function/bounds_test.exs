defmodule Tidepool.Function.BoundsTest do
  # How many names an option that is a list of them may have, and how long each may be: as much as its sentence says, and no more.
  use ExUnit.Case, async: true

  alias Tidepool.Function.{Buckets, Configured, Routes, Tools}

  defp names(prefix, count), do: for(number <- 1..count, do: "#{prefix}#{number}")
  defp long(prefix, bytes), do: [String.pad_trailing(prefix, bytes, "a")]

  for {module, prefix, most, bytes} <- [{Routes, "/", 32, 256}, {Tools, "t", 64, 256}, {Buckets, "b", 32, 64}] do
    test "#{inspect(module)} are at most #{most}, of #{bytes} bytes each" do
      {module, prefix, most, bytes} = unquote({:{}, [], [module, prefix, most, bytes]})
      assert module.valid?(names(prefix, most))
      refute module.valid?(names(prefix, most + 1))
      assert module.valid?(long(prefix, bytes))
      refute module.valid?(long(prefix, bytes + 1))
      assert module.expectation() =~ " #{most} "
      assert module.notation() =~ "#{most} at most"
    end

    test "#{inspect(module)} of a text are one, or none" do
      {module, prefix, bytes} = unquote({:{}, [], [module, prefix, bytes]})
      [longest] = long(prefix, bytes)
      assert module.read(longest) == {:ok, [longest]}
      assert module.read(longest <> "a") == :error
      assert module.read("") == :error
    end
  end

  test "texts by name are at most 64, with names of 256 bytes and values of 3,800" do
    texts = &Map.new(names("n", &1), fn name -> {name, ""} end)
    assert Configured.valid?(texts.(64))
    refute Configured.valid?(texts.(65))
    [name] = long("n", 256)
    value = String.duplicate("v", 3_800)
    assert Configured.valid?(%{name => value})
    refute Configured.valid?(%{(name <> "n") => value})
    refute Configured.valid?(%{name => value <> "v"})
    refute Configured.valid?(%{<<255>> => ""})
    refute Configured.valid?(%URI{})
    assert Configured.read("#{name}=#{value}") == {:ok, %{name => value}}
    assert Configured.read("#{name}=#{value}v") == :error
    assert Configured.write(%{"a" => "b=c"}) == ["a=b=c"]
  end
end
