defmodule Tidepool.ErrorTest do
  use ExUnit.Case, async: true

  alias Tidepool.Error
  alias Tidepool.Error.Reason

  doctest Tidepool.Error.Short

  # What is listed in a Rust source, by a pattern with its names in it.
  defp listed(path, pattern), do: Regex.scan(pattern, File.read!(path), capture: :all_but_first)

  test "all that an error can be told of is walked" do
    {:ok, types} = Code.Typespec.fetch_types(Reason)
    {:type, {:subject, {:type, _line, :union, subjects}, []}} = Enum.find(types, &match?({:type, {:subject, _, _}}, &1))
    assert Enum.sort(for({:atom, _position, subject} <- subjects, do: subject)) == Enum.sort(Reason.subjects())
    for subject <- Reason.subjects(), do: assert([_first | _more] = Reason.all(subject))
  end

  test "what the edge refuses by itself is in the table as that" do
    known = Enum.map(Reason.all(:edge), &to_string/1)

    named =
      for source <- Path.wildcard("native/tidepool_http/src/**/*.rs"),
          [name] <- listed(source, ~r/\bReason::([A-Z][a-z]\w+)/),
          uniq: true,
          do: Macro.underscore(name)

    assert Enum.sort(named) == Enum.sort(known)
  end

  # Fields of the rows of the table: of reasons, and of kinds of reasons.
  defp rows do
    rows = for [line] <- listed("native/tidepool_errors/errors.tsv", ~r/^([^#].*)$/m), do: String.split(line, "\t")
    Enum.split_with(rows, &(length(&1) > 3))
  end

  defp existing(text), do: text |> String.split() |> Enum.map(&String.to_existing_atom/1)

  test "every row of the table is a reason that has all that the row says" do
    {reasons, kinds} = rows()
    assert length(reasons) > 60 and length(kinds) > 20
    {:ok, types} = Code.Typespec.fetch_types(Reason)

    [retries, marks] =
      for type <- [:retry, :mark] do
        {:type, {^type, {:type, _line, :union, names}, []}} = Enum.find(types, &match?({:type, {^type, _, _}}, &1))
        for {:atom, _position, name} <- names, do: name
      end

    for [name, of, status, retry, _outcome, marked, _exit, details, meaning, _hint] <- reasons,
        reason = String.to_existing_atom(name) do
      assert [_first | _more] = existing(of)
      for subject <- Reason.subjects(), do: assert(reason in Reason.all(subject) == subject in existing(of), name)
      for mark <- marks, do: assert(Reason.is?(reason, mark) == mark in existing(marked), name)
      assert existing(marked) -- marks == [], name
      assert Reason.details(reason) == String.split(details)
      assert meaning != ""
      if status == "-", do: assert([_first | _more] = Reason.kinds(reason)), else: assert_answer(reason, status, retry)
    end

    for [name, status, retry] <- kinds, [word, kind] = name |> String.split(":") |> Enum.flat_map(&existing/1) do
      assert kind in Reason.kinds(word), name
      assert_answer({word, kind}, status, retry)
    end

    for [_name, _status, retry] <- kinds, do: assert(hd(existing(retry)) in retries)
    for [_name, _of, _status, retry | _more] <- reasons, retry != "-", do: assert(hd(existing(retry)) in retries)
  end

  defp assert_answer(reason, written, retry) do
    assert {status, mark} = Integer.parse(written)
    assert Reason.status(reason, false) == status, inspect(reason)
    assert Reason.status(reason, true) == if(mark == "!", do: status, else: 422), inspect(reason)
    assert to_string(Reason.retry(reason)) == retry, inspect(reason)
  end

  test "a reason that only a newer node knows is an error of this node's, and nothing holds for it" do
    for reason <- [:of_another_version, {:of_another_version, :kind}, {:quota, :of_another_version}] do
      assert Reason.status(reason, false) == 500
      assert Reason.retry(reason) == :never
      assert {500, :json, [], _body} = TidepoolWeb.Reply.error(Error.new(reason, "", "name"))
    end

    refute Reason.is?(:of_another_version, :logged)
  end

  test "an answer to what may go otherwise in a second says so, and no other" do
    for subject <- Reason.subjects(), word <- Reason.all(subject), reason <- told(word) do
      {_status, :json, headers, _body} = TidepoolWeb.Reply.error(Error.new(reason, "", "name"))
      assert headers == if(Reason.retry(reason) == :soon, do: [{"retry-after", "1"}], else: []), inspect(reason)
    end
  end

  defp told(word) do
    case Reason.kinds(word) do
      [] -> [word]
      kinds -> Enum.map(kinds, &{word, &1})
    end
  end

  test "every quota that the native library tells of is in the table" do
    known = for [name] <- listed("native/tidepool_core/src/base/limits.rs", ~r/Quota::\w+ => "(\w+)"/), do: name
    assert [_one, _two, _three] = known
    assert known -- Enum.map(Reason.kinds(:quota), &to_string/1) == []
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
