defmodule Tidepool.ExtismTest do
  # Plug-ins of Extism, built with its own kits, and in Go with what its kit asks: bytes in, bytes out, and what the application
  # answers.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Host, Origin}

  @kits [{"rust", "vowels"}, {"assemblyscript", "plugin"}, {"go", "plugin"}]

  defp vowels(count, total, vowels \\ "aeiouAEIOU"), do: ~s({"count":#{count},"total":#{total},"vowels":"#{vowels}"})

  # What is deployed somewhere is not compiled again.
  setup_all do
    for {language, guest} <- @kits, do: deploy!(language, guest)
    :ok
  end

  for {language, guest} <- @kits do
    describe "a plug-in in #{language}" do
      setup do
        {:ok, name: deploy!(unquote(language), unquote(guest), instances: {:warm, 1}), kit: unquote(language)}
      end

      test "gets its input and answers with its output", %{name: name} do
        assert {:ok, %{abi: :extism, imports: imports}} = Tidepool.fetch(name)
        assert "extism:host/env.input_load_u64" in imports
        assert Tidepool.call(name, "count_vowels", "low tide") == {:ok, vowels(3, 3)}

        for size <- [0, 1, 7, 8, 9, 65_537, 1_000_003], bytes = :rand.bytes(size) do
          assert Tidepool.call(name, "echo", bytes) == {:ok, bytes}
        end
      end

      test "keeps its variables where the instance is kept, and begins without any where it is not",
           %{name: name} = context do
        for total <- 1..3, do: assert(Tidepool.call(name, "count_vowels", "ebb") == {:ok, vowels(1, total)})
        fresh = deploy!(context.kit, unquote(guest), instances: :fresh)
        for _call <- 1..3, do: assert(Tidepool.call(fresh, "count_vowels", "ebb") == {:ok, vowels(1, 1)})
      end

      test "is told what was configured", %{kit: kit} do
        name = deploy!(kit, unquote(guest), config: %{"vowels" => "o=ø", "other" => "x"})
        assert Tidepool.call(name, "count_vowels", "good ebb = low") == {:ok, vowels(4, 4, "o=ø")}
        assert {:ok, %{config: %{"vowels" => "o=ø", "other" => "x"}}} = Tidepool.fetch(name)
      end

      test "says its errors word for word, and serves on", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: "no tide today: Grüße"}} =
                 Tidepool.call(name, "fails", "Grüße")

        assert Tidepool.call(name, "count_vowels", "ebb") == {:ok, vowels(1, 1)}
        assert {:error, %Error{reason: :no_export, details: %{exports: exports}}} = Tidepool.call(name, "nope", "")
        assert "count_vowels" in exports
      end

      test "asks handlers, which get and answer bytes", %{name: name} do
        Tidepool.Testing.handle({"extism", "extism:host/user", "tide"}, fn call ->
          assert %Host.Call{payload: "Brest", args: nil, function: ^name} = call
          {:ok, "5.2 m"}
        end)

        assert Tidepool.call(name, "tide_at", "Brest") == {:ok, "Brest: 5.2 m"}
      end

      test "traps with the text of a handler's error, and where there is no grant", %{kit: kit, name: name} do
        Tidepool.Testing.handle({"extism", "extism:host/user", "tide"}, fn _call -> {:error, "the gauge is dry"} end)

        assert {:error, %Error{reason: {:trap, :other}, message: "the gauge is dry"}} =
                 Tidepool.call(name, "tide_at", "x")

        granted = deploy!(kit, unquote(guest), host: ["extism/extism:host/user/other"])
        assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(granted, "tide_at", "x")
        assert message =~ "extism/extism:host/user/tide is not granted"
      end
    end
  end

  test "a request for a server is refused in the words of Extism's runtime" do
    name = deploy!("rust", "vowels")

    assert {:error, %Error{reason: {:trap, :other}, message: "HTTP request to https://tides.example/ is not allowed"}} =
             Tidepool.call(name, "fetches", "https://tides.example/")
  end

  describe "a request for a server" do
    test "has the response for its answer, and follows it to where it leads" do
      there = Origin.start!(fn socket, head -> Origin.say(socket, head) end)

      port =
        Origin.start!(fn socket, _head ->
          :gen_tcp.send(
            socket,
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:#{there}/b\r\ncontent-length: 0\r\n\r\n"
          )
        end)

      name = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:*"])
      assert {:ok, head} = Tidepool.call(name, "fetches", "http://127.0.0.1:#{port}/a")
      assert ["GET /b HTTP/1.1" | lines] = String.split(head, "\r\n", trim: true)
      assert "host: 127.0.0.1:#{there}" in lines

      one = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:#{port}"])

      assert {:error, %Error{reason: {:trap, :other}, message: message}} =
               Tidepool.call(one, "fetches", "http://127.0.0.1:#{port}/a")

      assert message == "HTTP request to http://127.0.0.1:#{there}/b is not allowed"
    end

    test "fails where there is none, where it never ends leading on, or has too many bytes" do
      port =
        Origin.start!(fn
          socket, "GET /round" <> _head ->
            :gen_tcp.send(socket, "HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n")

          socket, _head ->
            Origin.say(socket, String.duplicate("x", 10_001))
        end)

      name = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:*"], limits: %{payload: 10_000})

      for {url, expected} <- [
            {"http://127.0.0.1:#{port}/large", "HTTP response exceeds the configured maximum number of bytes: 10000"},
            {"http://127.0.0.1:#{port}/round", "too many redirects"},
            {"127.0.0.1", "Invalid URL: RelativeUrlWithoutBase"},
            {"http://127.0.0.1:1/", "Connection refused (os error 111)"}
          ] do
        assert {:error, %Error{reason: {:trap, :other}, message: ^expected}} = Tidepool.call(name, "fetches", url)
      end
    end

    test "has no more of its response in the host than its function may have there" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, String.duplicate("x", 6_000_000)) end)
      url = "http://127.0.0.1:#{port}/"
      name = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:*"], limits: %{total_memory: 4_194_304})

      assert {:error, %Error{reason: {:limit, :total_memory}, details: %{allowed: 4_194_304}}} =
               Tidepool.call(name, "fetches", url)

      # It is given back, and others have room for it.
      assert Tidepool.call(name, "echo", "still") == {:ok, "still"}
      roomy = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:*"])
      assert {:ok, body} = Tidepool.call(roomy, "fetches", url)
      assert byte_size(body) == 6_000_000
    end

    test "ends with the call" do
      test = self()
      port = Origin.start!(fn socket, _head -> Origin.tell_when_closed(socket, test) end)
      name = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:*"], limits: %{time: 2_000})
      assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "fetches", "http://127.0.0.1:#{port}/")
      assert_receive :closed
    end

    test "may be one for another function" do
      Tidepool.Testing.handle({"tidepool", "function", :_}, &Host.Builtin.function/1)
      callee = deploy!("rust", "http")
      name = deploy!("rust", "vowels")
      assert Tidepool.call(name, "fetches", "http://#{callee}.internal/hello") == {:ok, "hello"}
      nobody = "http://no-such-function.internal/"
      assert {:error, %Error{message: "no function of that name is deployed"}} = Tidepool.call(name, "fetches", nobody)
    end
  end

  test "an instance of one's own keeps its variables" do
    {:ok, instance} = Tidepool.Instance.start_link(deploy!("rust", "vowels"))
    for total <- 1..3, do: assert(Tidepool.Instance.call(instance, "count_vowels", "ebb") == {:ok, vowels(1, total)})
  end

  test "a plug-in that is over its limits ends, and others go on" do
    small = deploy!("rust", "vowels", limits: [memory: 1_310_720])
    other = deploy!("rust", "vowels")

    assert {:error, %Error{reason: {:limit, :memory}, details: %{allowed: 1_310_720}}} =
             Tidepool.call(small, "echo", :binary.copy("x", 1_000_000))

    assert Tidepool.call(small, "echo", "still") == {:ok, "still"}
    assert Tidepool.call(other, "echo", "still") == {:ok, "still"}
  end

  test "a plug-in is deployed as no actor, and as nothing else when its ABI is named" do
    name = unique_name("plugin")
    wasm = guest("rust", "vowels")
    assert {:error, %Error{reason: :no_actor}} = Tidepool.deploy(wasm, name: name, actor: true)
    assert {:error, %Error{reason: :unknown_abi}} = Tidepool.deploy(guest("wat", "bare"), name: name, abi: :extism)
    assert {:ok, %{abi: :extism}} = Tidepool.deploy(wasm, name: name, abi: :extism)
    Tidepool.remove(name)
  end
end
