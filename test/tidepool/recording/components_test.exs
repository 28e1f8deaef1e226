defmodule Tidepool.Recording.ComponentsTest do
  # Calls of components that were recorded come to the same when they are run again: with values, as programs, and by HTTP.
  use Tidepool.Case

  alias Tidepool.{Error, Host, Recording}

  defmodule Prices do
    def price("tea"), do: 3
  end

  @interface "docs:shop/prices"
  @languages ["rust", "c", "go"]

  defp recorded!(name) do
    {:ok, [%{id: id} | _older]} = Recording.list(name)
    {:ok, recording} = Recording.fetch(id)
    recording
  end

  # By `POST /replay`.
  defp replayed!(recording, more \\ "") do
    body = Path.join(tmp_folder!(), "replay.json")
    File.write!(body, ~s({"recording":"#{Base.encode64(recording)}"#{more}}))
    assert {200, _headers, report} = curl("/replay", ["--data-binary", "@#{body}"])
    report
  end

  defp verdict(recording, wasm),
    do: replayed!(recording, ~s(,"module":"#{Base.encode64(wasm)}","against":true))["verdict"]

  # An answer for the time of one call: nobody answers when that is replayed.
  defp priced(name, arguments) do
    :ok = Host.register_interface(@interface, Prices)
    outcome = Tidepool.call(name, :price, arguments)
    Host.unregister({"wit", @interface, "price"})
    outcome
  end

  test "what a module answers for an interface comes from the recording, for values and for JSON, and nobody is asked" do
    name = deploy!("component", "calc", record: :all, host: ["wit/docs:shop/*"])
    assert {:ok, 3} = priced(name, ["tea"])
    assert %{"verdict" => "same", "log" => [%{"asked" => "wit/docs:shop/prices" <> _rest}]} = replayed!(recorded!(name))
    :ok = Host.register_interface(@interface, Prices)
    assert {200, _headers, 3} = curl("/call/#{name}/price", ["--data-binary", ~s(["tea"])])
    Host.unregister({"wit", @interface, "price"})
    assert %{"verdict" => "same", "replayed" => %{"begins" => "3"}} = replayed!(recorded!(name))
    # Without an answer it traps, each time.
    assert {:error, %Error{reason: {:trap, :other}}} = Tidepool.call(name, :price, ["tea"])
    assert %{"verdict" => "same", "replayed" => %{"reason" => "trap"}} = replayed!(recorded!(name))
  end

  test "a version of a component is not deployed when a recorded call would come to another value" do
    name = deploy!("component", "calc", record: :all)
    assert {:ok, 42} = Tidepool.call(name, :add, [19, 23])
    deploy = &Tidepool.deploy(&1, name: name, verify: [last: 10])
    assert {:error, %Error{reason: :differs}} = deploy.(guest("component", "values"))
    assert {:ok, %{version: 2}} = deploy.(guest("component", "calc"))
  end

  test "a command is replayed with its standard input, its arguments and the clock that it saw" do
    for {program, input, output} <- [{"upper_command", "tide", "TIDE"}, {"surroundings_command", "", nil}] do
      name = deploy!("rust", program, record: :all)
      assert {:ok, told} = Tidepool.call(name, "look", input)
      if output, do: assert(told == output)
      assert %{"verdict" => "same", "replayed" => %{"begins" => ^told}} = replayed!(recorded!(name))
    end
  end

  for language <- @languages do
    @language language

    test "a request to a handler in #{language} is replayed with its body as it came, and others would answer alike" do
      name = deploy!(@language, "http", record: :all, instances: {:warm, 1})
      sent = Path.join(tmp_folder!(), "sent")
      body = :binary.copy("tides come and go\n", 20_000)
      File.write!(sent, body)
      post = &curl("/call/#{name}/#{&1}", ["--data-binary", "@#{sent}", "-H", "content-type: text/tide"])
      assert {200, _headers, ^body} = post.("echo")
      echoed = recorded!(name)

      assert %{"verdict" => "same", "calls" => calls, "replayed" => %{"bytes" => 360_000, "begins" => begins}} =
               replayed!(echoed)

      assert calls >= 1
      assert begins =~ ~r/\AHTTP 200\n(.+\n)*content-type: text\/tide\n(.+\n)*\ntides come/
      for other <- @languages, do: assert(verdict(echoed, guest(other, "http")) == "same")
      assert {200, _headers, _digest} = post.("sha256")
      assert %{"verdict" => "same"} = replayed!(recorded!(name))
    end
  end

  test "a request that traps its handler is replayed to the same trap, and a version that answers otherwise is not deployed" do
    name = deploy!("rust", "http", record: :failures)
    curl("/call/#{name}/hello")
    assert {:ok, []} = Recording.list(name)
    assert {500, _headers, _error} = curl("/call/#{name}/trap-before")

    assert %{"verdict" => "same", "exact" => true, "replayed" => %{"backtrace" => [%{"function" => _name} | _]}} =
             replayed!(recorded!(name))

    all = deploy!("rust", "http", record: :all)
    assert {200, _headers, "hello"} = curl("/call/#{all}/hello")
    deploy = &Tidepool.deploy(guest(&1, &2), name: all, verify: [last: 10])
    assert {:error, %Error{reason: :differs}} = deploy.("rust", "keyvalue_http")
    assert {:ok, %{version: 2}} = deploy.("go", "http")
  end

  test "what a component may not be recorded with is refused, with the reason" do
    assert {:error, %Error{reason: :invalid_config, message: message}} =
             Tidepool.deploy(guest("rust", "http"), name: unique_name("net"), record: :all, net: ["*"])

    assert message =~ "leave out `record` or `net`"
  end
end
