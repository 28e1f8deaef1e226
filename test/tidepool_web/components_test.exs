defmodule TidepoolWeb.ComponentsTest do
  # Exports of components over HTTP: JSON in, JSON out, and errors with the place of what is wrong.
  use Tidepool.Case, async: true

  setup do
    {:ok, name: deploy!("component", "values")}
  end

  defp json(path, arguments) do
    curl(path, ["--data-binary", arguments])
  end

  test "an export is called by its name with the array of its arguments, or an object by their names", %{name: name} do
    for arguments <- ["[84,2]", ~s({"divisor": 2, "dividend": 84})] do
      assert {200, _headers, 42} = json("/call/#{name}/divide", arguments)
    end

    assert {200, _headers, [%{"circle" => 1.5}, "square"]} =
             json("/call/#{name}/shapes", ~s([[{"circle": 1.5}, "square"]]))
  end

  test "a name with its interface is one when it is escaped" do
    name = deploy!("component", "calc")
    assert {200, _headers, 42} = json("/call/#{name}/docs:adder%2Fadd@0.1.0%23add", "[19,23]")
    assert {200, _headers, 42} = json("/call/#{name}/add", "[19,23]")
  end

  test "the error of a result is a 422 with its value, and arguments of other types are a 400 with their place", %{
    name: name
  } do
    assert {422, _headers, %{"error" => %{"reason" => "guest_error", "value" => "division by zero"}}} =
             json("/call/#{name}/divide", "[1,0]")

    assert {400, _headers, %{"error" => %{"reason" => "invalid_arguments", "path" => "all.0.name"}}} =
             json("/call/#{name}/people", ~s([[{"name": 1, "tags": []}]]))
  end

  test "an export with resources is a 400 that says who calls it, and is shown with them" do
    name = deploy!("component", "counters")

    for {export, arguments} <- [{"checked", "[1]"}, {"total", "[[1]]"}, {"counter.value", "[1]"}] do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_arguments", "message" => message}}} =
               json("/call/#{name}/#{export}", arguments)

      assert message =~ "takes or returns a resource: `Tidepool.Instance`"
    end

    assert {200, _headers, 0} = json("/call/#{name}/alive", "[]")
    assert {200, _headers, %{"interface" => %{"functions" => functions, "wit" => wit}}} = curl("/functions/#{name}")
    total = Enum.find(functions, &(&1["function"] == "total"))
    assert %{"params" => [%{"type" => "list<borrow<counter>>", "schema" => schema}], "uncallable" => why} = total
    assert schema == %{"type" => "array", "items" => false}
    assert why =~ "`Tidepool.Instance`"
    assert wit =~ "resource counter {\n            constructor(start: u32);\n            value: func() -> u32;"
  end

  test "an export that there is none of is a 404 with those that there are", %{name: name} do
    assert {404, _headers, %{"error" => %{"reason" => "no_export", "exports" => exports}}} =
             json("/call/#{name}/multiply", "[]")

    assert "divide" in exports
  end
end
