defmodule Tidepool.ErrorTest do
  use ExUnit.Case, async: true

  alias Tidepool.Error
  alias Tidepool.Error.Reason

  # What is listed in a Rust source, by a pattern with its names in it.
  defp listed(path, pattern), do: Regex.scan(pattern, File.read!(path), capture: :all_but_first)

  defp all, do: Enum.flat_map(Reason.subjects(), &Reason.all/1)

  test "all that an error can be told of is walked" do
    {:ok, types} = Code.Typespec.fetch_types(Reason)
    {:type, {:subject, {:type, _line, :union, subjects}, []}} = Enum.find(types, &match?({:type, {:subject, _, _}}, &1))
    assert Enum.sort(for({:atom, _position, subject} <- subjects, do: subject)) == Enum.sort(Reason.subjects())
    for subject <- Reason.subjects(), do: assert([_first | _more] = Reason.all(subject))
  end

  test "every reason of the native library is in the table" do
    source = "native/tidepool_nif/src/terms/encode.rs"
    compile = listed(source, ~r/CompileError::[^=]*=>\s*\{?\s*\(\s*atoms::(\w+)\(\)/)
    call = listed(source, ~r/CallError::\w+(?: \{[^}]*\})? =>\s*\{?\s*\(?atoms::(\w+)\(\)/)
    assert length(compile) >= 11 and length(call) >= 3
    known = Enum.map(all(), &to_string/1)
    for [name] <- compile ++ call, do: assert(name in known, name)
  end

  test "every row of the table is a reason with the status that it says, and one of a deploy where that differs" do
    rows =
      for [line] <- listed("native/tidepool_http/src/message/errors.tsv", ~r/^([^#].*)$/m), do: String.split(line, "\t")

    assert length(rows) > 80

    for [name, of, written | _more] <- rows do
      reason =
        case name |> String.split(":") |> Enum.map(&String.to_existing_atom/1) do
          [word, kind] -> {word, kind}
          [word] -> word
        end

      word = Reason.word(reason)
      for subject <- String.split(of), do: assert(word in Reason.all(String.to_existing_atom(subject)), name)

      if written == "-" do
        assert [_first | _more] = Reason.kinds(word)
      else
        assert {status, mark} = Integer.parse(written)
        assert Reason.status(reason, false) == status, name
        assert Reason.status(reason, true) == if(mark == "!", do: status, else: 422), name
        assert reason == word or elem(reason, 1) in Reason.kinds(word), name
      end
    end
  end

  test "every kind of trap and limit that the native library tells of is in the table, and no other" do
    for {source, type, reason} <- [{"trap", "TrapKind", :trap}, {"limits", "Limit", :limit}] do
      known = for [name] <- listed("native/tidepool_core/src/base/#{source}.rs", ~r/#{type}::\w+ => "(\w+)"/), do: name

      assert known |> Enum.take(length(Reason.kinds(reason))) |> Enum.sort() ==
               Reason.kinds(reason) |> Enum.map(&to_string/1) |> Enum.sort()
    end
  end

  test "what a deploy is refused for is 422, but for what is not up to who deploys" do
    assert Reason.status({:trap, :unreachable}, false) == 500
    assert Reason.status({:trap, :unreachable}, true) == 422
    assert Reason.status({:limit, :cpu_time}, false) == 504
    assert Reason.status({:limit, :cpu_time}, true) == 422

    for {reason, status} <- [internal: 500, overloaded: 503, storage: 507],
        do: assert(Reason.status(reason, true) == status)
  end

  test "what the file system says is a sentence, whether it says it in a word or in a text" do
    assert %Error{reason: :storage, message: "a/b: no space left on device"} = Error.storage("a/b", :enospc)
    assert %Error{reason: :storage, message: "a/b: it is locked"} = Error.storage("a/b", "it is locked")
  end
end
