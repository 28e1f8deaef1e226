defmodule Tidepool.Plugins do
  @moduledoc """
  Plug-ins that were made with Extism's own packages: what each answers to what, and what their host answers them.

  `rows/1` is what Tidepool is held to in every run (`extism_kit_test.exs`), and Extism's own runtime in long ones, where both are
  asked with `input/2` as well (`extism_beside_test.exs`). The runtime has the same functions of the host in
  `bench/components/extism/host.rs`.
  """

  alias Tidepool.{Host, Origin}

  @unreachable "wasm trap: wasm `unreachable` instruction executed"
  @place ~s({"name":"Brest","depth":1.5,"tides":[3,1]})
  # The same as MessagePack, in the order of the fields.
  @packed <<0x93, 0xA5, "Brest", 0xCB, 1.5::float-64, 0x92, 3, 1>>

  @doc "Their languages and names."
  def all do
    [
      {"rust", "kit_vars"},
      {"rust", "kit_config"},
      {"rust", "kit_log"},
      {"rust", "kit_host"},
      {"rust", "kit_http"},
      {"rust", "kit_errors"},
      {"rust", "kit_blocks"},
      {"rust", "kit_types"},
      {"assemblyscript", "kit_vars"},
      {"assemblyscript", "kit_errors"},
      {"assemblyscript", "kit_blocks"}
    ]
  end

  @doc "What is configured for all of them."
  def config, do: %{"tide" => "low", "empty" => "", "ø" => "🌊"}

  @doc """
  Calls one after the other of one instance: export, input, and the output or the text of the error. `origin` is the URL of the server
  that they may ask. After an error by which an instance ends, the next call is that of a new one.
  """
  def rows(plugin, origin \\ "")

  def rows({"rust", "kit_vars"}, _origin) do
    variables() ++
      [
        {"count", "", {:ok, "1"}},
        {"count", "is not read", {:ok, "2"}},
        {"fill", ~s({"names":100,"bytes":10}), {:ok, "100"}},
        {"changes", "first", {:ok, "first|nothing|second|nothing"}},
        {"fill", ~s({"names":3000,"bytes":400}), {:error, "Variable store is full"}},
        {"count", "", {:ok, "1"}}
      ]
  end

  def rows({"assemblyscript", "kit_vars"}, _origin) do
    variables() ++
      [
        {"fill", "100", {:ok, "100"}},
        {"configured", "tide", {:ok, "low"}},
        {"configured", "empty", {:ok, "nothing"}},
        {"fill", "30000", {:error, "Variable store is full"}},
        {"get", "var 1", {:ok, "nothing"}}
      ]
  end

  def rows({"rust", "kit_config"}, _origin) do
    [
      {"get", "tide", {:ok, "low"}},
      {"get", "Tide", {:ok, "nothing"}},
      {"get", "empty", {:ok, "nothing"}},
      {"get", "", {:ok, "nothing"}},
      {"several", "tide\nnope\nø", {:ok, ~s({"nope":null,"tide":"low","ø":"🌊"})}},
      {"length", "ø", {:ok, "4, and 0 when it is free"}},
      {"length", "nope", {:ok, "none"}}
    ]
  end

  def rows({"rust", "kit_log"}, _origin) do
    [
      {"each", "flood", {:ok, ""}},
      {"level", "", {:ok, "2"}},
      {"fails", "ebb", {:error, "ebb"}}
    ]
  end

  def rows({"rust", "kit_host"}, _origin) do
    [
      {"tide_at", "Brest", {:ok, "Brest has 5 bytes"}},
      {"tide_at", "", {:ok, " has 0 bytes"}},
      {"tides_at", "Brest\nSaint-Malo", {:ok, "Brest has 5 bytes\nSaint-Malo has 10 bytes"}},
      {"tides_at", "Brest\ndry dock", {:error, "the gauge of dry dock is dry"}},
      {"route_of", "Brest-Ouessant", {:ok, "from Brest to Ouessant"}},
      {"route_of", "Brest", {:ok, "from Brest to "}},
      {"notes", "a storm", {:ok, "noted"}},
      {"notes", "no storm", {:error, "it is not noted"}},
      {"time", "", {:ok, "12:00"}},
      {"height", "7", {:ok, "1.75"}},
      {"height", "seven", {:error, "invalid digit found in string"}}
    ]
  end

  def rows({"rust", "kit_http"}, origin) do
    asked = fn path, more -> ~s({"url":"#{origin}#{path}"#{more}}) end

    [
      {"get", "#{origin}/pier", {:ok, "GET /pier none "}},
      {"send", asked.("/a?b=c", ~s(,"method":"POST","headers":{"X-Tide":"low"},"body":"ebb")),
       {:ok, ~s({"status":200,"headers":{"content-length":"19","x-answer":"yes"},"body":"POST /a?b=c low ebb"})}},
      {"send", asked.("/gone", ~s(,"method":"delete")),
       {:ok, ~s({"status":404,"headers":{"content-length":"18","x-answer":"yes"},"body":"DELETE /gone none "})}},
      {"twice", "#{origin}/pier\n#{origin}/gone", {:ok, "200: 15, 404: 15"}},
      {"get", "http://elsewhere.example/", {:error, "HTTP request to http://elsewhere.example/ is not allowed"}},
      {"get", "elsewhere", {:error, "Invalid URL: RelativeUrlWithoutBase"}},
      {"get", "ailleurs=ä 🌊", {:error, "Invalid URL: RelativeUrlWithoutBase"}}
    ]
  end

  def rows({"rust", "kit_errors"}, _origin) do
    errors() ++
      [
        {"coded", "7 too late", {:error, "too late"}},
        {"coded", "0 but an error", {:error, "but an error"}},
        {"coded", "late", {:error, "CODE TEXT"}},
        {"caused", "x", {:error, "no number\n\nCaused by:\n    invalid digit found in string"}},
        {"reads", <<"tide", 255>>, {:error, "invalid utf-8 sequence of 1 bytes from index 4"}},
        {"reads", "Ärmelkanal", {:ok, "Ärmelkanal"}},
        {"panics", "x", {:error, @unreachable}},
        {"reads", "again", {:ok, "again"}}
      ]
  end

  def rows({"assemblyscript", "kit_errors"}, _origin) do
    errors() ++
      [
        {"panics", "x", {:error, "Index out of range"}},
        {"traps", "", {:error, @unreachable}},
        {"divides", "x", {:error, "wasm trap: integer divide by zero"}},
        {"divides", "xx", {:error, "Returned non-zero exit code: 1"}}
      ]
  end

  def rows({"rust", "kit_blocks"}, _origin) do
    blocks() ++
      [
        {"beyond", "abc", {:ok, "[0, 0, 0, 0, 0] 0"}},
        {"passes", "as it is", {:ok, "as it is"}},
        {"churns", <<10, 20, 30, 41, 3, 9, 200>>, {:ok, "1901 bytes, 1 blocks held"}},
        {"lengths", "", {:ok, "[100, 0, 0, 0, 0] 0"}},
        {"asks_at", "5", {:error, "invalid handle offset for config key: 5"}},
        {"asks_at", "-1", {:error, "invalid handle offset for config key: 18446744073709551615"}}
      ]
  end

  def rows({"assemblyscript", "kit_blocks"}, _origin) do
    blocks() ++
      [
        {"beyond", "abc", {:ok, "0 0 0 0"}},
        {"lengths", "", {:ok, "100 0 0 0 0"}}
      ]
  end

  def rows({"rust", "kit_types"}, _origin) do
    [
      {"by_json", @place, {:ok, ~s({"name":"Brest","depth":3.0,"tides":[1,3]})}},
      {"by_json", "{", {:error, "EOF while parsing an object at line 1 column 1"}},
      {"by_msgpack", @place, {:ok, @packed}},
      {"unpacks", @packed, {:ok, "Brest is 1.5 deep, [3, 1]"}},
      {"as_base64", "low tide", {:ok, "bG93IHRpZGU="}},
      {"doubled", <<21::little-64>>, {:ok, <<42::little-64>>}},
      {"letters", "süß", {:ok, "5 bytes, 3 letters, SÜSS"}}
    ]
  end

  defp variables do
    bytes = :binary.copy("tide", 20_000)

    [
      {"get", "a", {:ok, "nothing"}},
      {"set", "a=1", {:ok, "nothing"}},
      {"set", "a=ø=2", {:ok, "1"}},
      {"get", "a", {:ok, "ø=2"}},
      # One of no bytes is none.
      {"set", "a=", {:ok, "ø=2"}},
      {"get", "a", {:ok, "nothing"}},
      {"set", "b=3", {:ok, "nothing"}},
      {"remove", "b", {:ok, ""}},
      {"remove", "b", {:ok, ""}},
      {"get", "b", {:ok, "nothing"}},
      {"set", "c", {:error, "NAME=VALUE"}},
      {"keep", bytes, {:ok, ""}},
      {"get", "bytes", {:ok, bytes}}
    ]
  end

  defp errors do
    [
      {"returns", "no tide, 🌊", {:error, "no tide, 🌊"}},
      {"twice", "", {:error, "the second error"}},
      {"succeeds", "", {:error, "set beside an output"}},
      {"takes_back", "", {:ok, "an output"}},
      {"says_nothing", "", {:error, "Returned non-zero exit code: 42"}},
      {"aborts", "", {:error, "it can't go on"}}
    ]
  end

  defp blocks do
    large = for place <- 0..69_999, into: <<>>, do: <<rem(place, 251)>>

    [
      {"pieces", "", {:ok, ""}},
      {"pieces", large, {:ok, large}},
      {"large", "70000", {:ok, large}},
      {"large", "0", {:ok, ""}},
      {"middle", "abcdefgh", {:ok, "cdef"}},
      {"middle", "", {:ok, ""}}
    ]
  end

  @doc "An input of any kind for one of the exports, by the seed of the calling process."
  def input({_language, "kit_vars"}, "set"), do: "#{Enum.random(~w(a b ø))}=#{text()}"
  def input({_language, "kit_vars"}, export) when export in ["get", "remove"], do: Enum.random(~w(a b ø bytes calls))
  def input({_language, "kit_vars"}, "keep"), do: bytes(300_000)
  def input({"rust", _name}, "fill"), do: ~s({"names":#{:rand.uniform(60)},"bytes":#{:rand.uniform(30_000)}})
  def input({"assemblyscript", _name}, "fill"), do: "#{:rand.uniform(15_000)}"
  def input({_language, "kit_config"}, "several"), do: Enum.join(Enum.take_random(~w(tide nope empty ø Tide), 3), "\n")
  def input({_language, "kit_config"}, _export), do: Enum.random(~w(tide nope empty ø Tide))
  def input({_language, "kit_host"}, "height"), do: "#{:rand.uniform(2_000_000) - 1_000_000}"

  def input({_language, "kit_host"}, _export),
    do: Enum.random(["", "dry ", "no "]) <> text() <> Enum.random(["-", "\n"]) <> text()

  def input({_language, "kit_errors"}, "coded"), do: "#{:rand.uniform(200) - 100} #{text()}"
  def input({_language, "kit_errors"}, "reads"), do: if(:rand.uniform(2) == 1, do: text(), else: bytes(20))
  def input({_language, "kit_blocks"}, "large"), do: "#{:rand.uniform(200_000) - 1}"
  def input({_language, "kit_blocks"}, "asks_at"), do: Enum.random(~w(1 3 -1 -8 9223372036854775807 4294967295 7))
  def input({_language, "kit_blocks"}, "churns"), do: bytes(400)
  def input({_language, "kit_blocks"}, _export), do: bytes(70_000)

  def input({_language, "kit_types"}, "doubled"), do: :rand.bytes(Enum.random([8, 8, 8, 7, 0]))
  def input({_language, "kit_types"}, "unpacks"), do: if(:rand.uniform(2) == 1, do: @packed, else: bytes(30))

  def input({_language, "kit_types"}, "by_" <> _other) do
    tides = for _tide <- 1..:rand.uniform(5), do: :rand.uniform(1_000) - 500
    ~s({"name":"#{:rand.uniform(99)}","depth":#{:rand.uniform() * 100},"tides":#{inspect(tides, charlists: :as_lists)}})
  end

  def input(_plugin, _export), do: text()

  defp bytes(most), do: :rand.bytes(:rand.uniform(most) - 1)

  defp text,
    do:
      for(
        _letter <- 1..(:rand.uniform(60) - 1)//1,
        into: "",
        do: <<Enum.random([?a, ?z, ?\s, ?=, 0xE4, 0x1F30A])::utf8>>
      )

  @doc "What answers their imports: targets, each with its handler."
  def handlers do
    for {module, name, answer} <- [
          {"extism:host/user", "tide", &tide/1},
          {"extism:host/user", "route", fn %Host.Call{args: [from, to]} -> {:ok, "from #{from} to #{to}"} end},
          {"extism:host/user", "note", &note/1},
          {"extism:host/user", "noon", fn _call -> {:ok, "12:00"} end},
          {"extism:host/user", "hello_world", fn call -> {:ok, call.payload} end},
          {"gauge", "scaled", fn %Host.Call{args: [steps, step]} -> {:ok, steps * step} end}
        ],
        do: {{"extism", module, name}, answer}
  end

  defp tide(%Host.Call{payload: "dry" <> _rest = harbour}), do: {:error, "the gauge of #{harbour} is dry"}
  defp tide(%Host.Call{payload: harbour}), do: {:ok, "#{harbour} has #{byte_size(harbour)} bytes"}

  defp note(%Host.Call{payload: "no" <> _rest}), do: {:error, "it is not noted"}
  defp note(%Host.Call{}), do: {:ok, ""}

  @doc "Starts a server that tells what it was asked, and returns its port."
  def origin! do
    Origin.start!(&serve/2)
  end

  # A connection that was closed behind an answer, without a word of it, would be asked once more.
  defp serve(socket, request) do
    [head, body] = String.split(request, "\r\n\r\n", parts: 2)
    [method, path, _version] = head |> String.split("\r\n") |> hd() |> String.split(" ")
    length = String.to_integer(header(head, "content-length") || "0")
    body = body <> rest(socket, length - byte_size(body))
    told = Enum.join([method, path, header(head, "x-tide") || "none", body], " ")
    status = if path == "/gone", do: "404 Not Found", else: "200 OK"
    answer = ["HTTP/1.1 #{status}\r\ncontent-length: #{byte_size(told)}\r\nx-answer: yes\r\n\r\n", told]

    with :ok <- :gen_tcp.send(socket, answer),
         {:ok, request} <- Origin.head(socket),
         do: serve(socket, request)
  end

  defp header(head, name) do
    with [_all, value] <- Regex.run(~r/^#{name}: (.*)\r?$/im, head), do: String.trim(value)
  end

  defp rest(_socket, 0), do: ""

  defp rest(socket, bytes) do
    {:ok, more} = :gen_tcp.recv(socket, bytes)
    more
  end
end
