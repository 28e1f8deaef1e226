defmodule TidepoolWeb.PlainTest do
  # Calls of plain modules over HTTP: JSON in, JSON out, and what is none is refused.
  # Not async: it answers an import that others answer, too.
  use Tidepool.Case

  setup_all do
    names =
      for {language, guest} <- [{"wat", "bare"}, {"wat", "numbers"}], into: %{} do
        name = unique_name(guest)
        {:ok, _function} = Tidepool.deploy(guest(language, guest), name: name, limits: [cpu_time: 1_000])
        on_exit(fn -> Tidepool.remove(name) end)
        {String.to_atom(guest), name}
      end

    names
  end

  defp post(path, body) do
    file = Path.join(tmp_folder!(), "body")
    File.write!(file, body)
    curl(path, ["--data-binary", "@#{file}"])
  end

  test "a result is JSON, of whatever kind it is, driven in place or by a process", %{bare: bare, numbers: numbers} do
    handle!({"import", "env", "note"}, fn _call -> {:ok, nil} end)

    for {path, body, reply} <- [
          {"#{numbers}/add", "[19,23]", 42},
          {"#{numbers}/swap", "[1,2.5]", [2.5, 1]},
          {"#{numbers}/nothing", "", nil},
          # What asks the host goes on in a process.
          {"#{numbers}/noted", "[1]", nil},
          {"#{bare}/f64", ~s(["Infinity"]), "Infinity"},
          {"#{bare}/gr%C3%B6%C3%9Fe", "[]", 2},
          {"#{bare}/a%2Fb", "[]", 4}
        ] do
      assert {200, %{"content-type" => "application/json" <> _charset}, ^reply} = post("/call/" <> path, body)
    end
  end

  test "an error has its status and its members", %{numbers: numbers} do
    path = "/call/#{numbers}"

    assert {404, _headers, %{"error" => %{"reason" => "no_export", "exports" => exports}}} = post("#{path}/nope", "[]")
    assert "add" in exports

    assert {400, _headers, %{"error" => %{"reason" => "invalid_arguments", "path" => "2"}}} =
             post("#{path}/add", ~s([1,"2"]))

    assert {500, _headers, %{"error" => %{"reason" => "trap", "trap" => "integer_division_by_zero"}}} =
             post("#{path}/crash", "[0]")
  end

  test "JSON of any depth, length and kind is refused without holding up others", %{bare: bare} do
    hostile = [
      String.duplicate("[", 10_000) <> String.duplicate("]", 10_000),
      "[" <> String.duplicate("[],", 350_000) <> "[]]",
      "[" <> String.duplicate("9", 10_000) <> "]",
      "[" <> String.duplicate("9", 1_000_000) <> "]",
      "[1e999]",
      ~s({"a":1,"a":2}),
      "{" <> Enum.map_join(1..60_000, ",", &~s("#{&1}":0)) <> "}",
      ~s(["#{String.duplicate("\\u0041", 150_000)}"]),
      "[1] garbage",
      <<"[\"", 255, 254, "\"]">>,
      <<0>>,
      String.duplicate(" ", 1_000_000)
    ]

    beside = Task.async(fn -> for _look <- 1..40, do: look() end)

    for _round <- 1..5, json <- hostile do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_arguments", "message" => message}}} =
               post("/call/#{bare}/f64", json)

      assert byte_size(message) < 1_000
    end

    assert length(Task.await(beside, 60_000)) == 40
    assert {200, _headers, 1.5} = post("/call/#{bare}/f64", "[1.5]")
  end

  # The node says that it is well.
  defp look do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    {:ok, "HTTP/1.1 200" <> _more} = :gen_tcp.recv(socket, 0, 10_000)
    :gen_tcp.close(socket)
  end
end
