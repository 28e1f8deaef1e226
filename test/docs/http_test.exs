Code.require_file("settings.exs", __DIR__)

defmodule Tidepool.Docs.HttpTest do
  use Tidepool.Case, async: true

  alias Tidepool.Docs.Settings
  alias Tidepool.Error
  alias Tidepool.Function.Spec

  @document "docs/http.md"

  # {reason, status} of the rows below a heading, up to the next one.
  defp documented(heading) do
    section = File.read!(@document) |> String.split("\n### #{heading}\n") |> Enum.at(1) |> String.split("\n#") |> hd()

    for [_row, reason, status] <- Regex.scan(~r/^\| `(\w+)` \| ([^|]+) \|/m, section) do
      {reason, Enum.map(Regex.scan(~r/\b[45]\d\d\b/, status), fn [code] -> String.to_integer(code) end)}
    end
  end

  # Reasons as the errors' own documentation lists them below a heading.
  defp known(heading) do
    {:docs_v1, _line, _language, _format, %{"en" => text}, _metadata, _functions} = Code.fetch_docs(Error)
    section = text |> String.split("## #{heading}\n") |> Enum.at(1) |> String.split("\n##") |> hd()
    section = String.replace(section, ~r/(?<=\|).*$/m, &first_cell/1)
    for [_code, name] <- Regex.scan(~r/`\{?:(\w+)/, section), uniq: true, do: name
  end

  defp first_cell(row), do: row |> String.split("|") |> hd()

  defp status(reason, details) do
    {status, :json, _headers, _body} = TidepoolWeb.Reply.error(Error.new(reason, "", "name", details))
    status
  end

  # Whose atoms the reasons are.
  setup_all do
    Code.ensure_loaded!(Error.Reason)
    :ok
  end

  # The reason as errors have it: one of several kinds, the first of them.
  defp one(word) do
    case Error.Reason.kinds(word) do
      [] -> word
      [kind | _more] -> {word, kind}
    end
  end

  test "every reason of a call is documented with its status" do
    documented = documented("Of a call")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of a call"))

    for {reason, [first | _more]} <- documented,
        word = String.to_existing_atom(reason),
        Error.Reason.kinds(word) == [],
        do: assert(status(word, %{}) == first, reason)
  end

  test "every kind of a reason is documented with its status" do
    text = File.read!(@document)

    for reason <- [:trap, :limit, :quota] do
      by_status = Enum.group_by(Error.Reason.kinds(reason), &status({reason, &1}, %{}))
      [{usual, _kinds} | others] = Enum.sort_by(by_status, fn {_status, kinds} -> -length(kinds) end)
      of_kinds = for {status, kinds} <- Enum.sort(others), kind <- kinds, do: "#{status} for `#{kind}`"
      statuses = if of_kinds == [], do: usual, else: Enum.join(of_kinds ++ ["else #{usual}"], ", ")
      assert text =~ ~r/^\| `#{reason}` \| #{statuses}[ ,]/m, "#{reason}: #{statuses}"
    end
  end

  test "every reason of forgetting a node is documented with its status" do
    documented = documented("Of forgetting a node, of members, and of recordings")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of forgetting a node"))
    for {reason, [first]} <- documented, do: assert(status(String.to_existing_atom(reason), %{}) == first, reason)
  end

  test "every reason of a process is documented with its status" do
    documented = documented("Of a process")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of a process"))
    for {reason, [first]} <- documented, do: assert(status(String.to_existing_atom(reason), %{}) == first, reason)
  end

  test "every reason of an actor is documented with its status" do
    documented = documented("Of an actor")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of an actor"))
    for {reason, [first]} <- documented, do: assert(status(String.to_existing_atom(reason), %{}) == first, reason)
  end

  test "every reason of a token is documented with its status" do
    documented = documented("Of a token")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of a token"))
    for {reason, [first]} <- documented, do: assert(status(String.to_existing_atom(reason), %{}) == first, reason)
  end

  test "every kind of trap is documented" do
    text = File.read!(@document)
    for kind <- Error.Reason.kinds(:trap), do: assert(text =~ "`#{kind}`")
  end

  test "every reason of a deploy is documented with its status" do
    documented = documented("Of a deploy")
    assert Enum.sort(Enum.map(documented, &elem(&1, 0))) == Enum.sort(known("Reasons of a deploy"))

    for {reason, [expected]} <- documented,
        do: assert(status(one(String.to_existing_atom(reason)), %{step: :compile}) == expected, reason)
  end

  test "every refusal of the edge is documented with its status" do
    known = for reason <- Error.Reason.all(:edge), do: {to_string(reason), [status(reason, %{})]}
    assert Enum.sort(documented("Of the edge")) == Enum.sort(known)
  end

  test "what an answer may tell beside its reason is documented with the reason" do
    rows = Regex.scan(~r/^\| `(\w+)` \| [45]\d\d.*$/m, File.read!(@document))

    for subject <- Error.Reason.subjects(),
        reason <- Error.Reason.all(subject),
        detail <- Error.Reason.details(reason) do
      of_reason = for [row, name] <- rows, name == to_string(reason), do: row
      assert Enum.any?(of_reason, &(&1 =~ "`#{detail}`")), "#{reason}: #{detail}"
    end
  end

  test "every ABI is documented" do
    {:ok, types} = Code.Typespec.fetch_types(Tidepool.Function)
    {:type, {:abi, {:type, _line, :union, abis}, []}} = Enum.find(types, &match?({:type, {:abi, _, []}}, &1))
    [row] = Regex.run(~r/^\| `abi` \|.*$/m, File.read!(@document))
    for {:atom, _position, abi} <- abis, do: assert(row =~ "`#{abi}`")
  end

  test "the form's fields and the parameters are documented as the schema has them" do
    text = File.read!(@document)
    how = "mix run --no-start -r test/docs/settings.exs -e 'Tidepool.Docs.Settings.print()'"

    for options <- [Spec.kept(), Spec.of_request()], table = Settings.fields(options) do
      assert String.contains?(text, table), "#{@document} should have this table, as printed by #{how}:\n\n#{table}"
    end
  end

  test "the fields that may come several times are those of the schema" do
    [_all, sentence] = Regex.run(~r/You may give (.*?) several times/s, File.read!(@document))
    documented = ~r/`(\w+)`/ |> Regex.scan(sentence, capture: :all_but_first) |> List.flatten()
    assert documented == for({_key, spec} <- Spec.kept(), name = spec[:each], do: name)
  end

  test "what is told of a function is what the documents list" do
    [_before, section] =
      String.split(File.read!("docs/http.md"), "The answer, and `GET /functions/NAME`, is:\n", parts: 2)

    [table | _rest] = String.split(section, "```", parts: 2)

    documented =
      for [members] <- Regex.scan(~r/^\| ([^|]+) \|/m, table, capture: :all_but_first),
          [name] <- Regex.scan(~r/`(\w+)`/, members, capture: :all_but_first),
          do: name

    options = for {key, _spec} <- Spec.kept(), do: to_string(key)
    documented = Enum.uniq(documented ++ options)

    for instances <- [:fresh, {:warm, 1}] do
      name = deploy!("rust", "hello_world", instances: instances)
      {200, _headers, function} = curl("/functions/#{name}")
      assert Enum.sort(Map.keys(function)) == Enum.sort(documented)
      {200, _headers, %{"functions" => functions}} = curl("/functions")
      brief = Enum.find(functions, &(&1["name"] == name))
      assert Enum.sort(Map.keys(brief)) == Enum.sort(documented -- ["config"])
    end
  end
end
