defmodule TidepoolWeb.DeploySharesTest do
  # A namespace whose deploys take their time leaves places to others. Not async: it takes all places of the node that it can get.
  use Tidepool.Case, async: false

  alias Tidepool.FaultVersion
  alias TidepoolWeb.{Deploys, Listener}

  # No trial is over before the test is.
  @long ~s({"time": 600000, "cpu_time": 600000})

  setup do
    eventually(fn -> busy_instances() == 0 end)
    {:ok, slow: unique_name("slow"), other: unique_name("other")}
  end

  defp deploy(name, wasm), do: curl_deploy(wasm, name: name, limits: @long, engine: "dense")
  defp roll_back(namespace), do: curl("/functions/#{namespace}%2Fhello/rollback", ["-X", "POST"])

  # A deploy whose trial has no end, on a connection of its own.
  defp start_deploy(name) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Listener.port(), [:binary, active: false])
    fields = [name: name, limits: @long, engine: "dense"]
    part = fn what, content -> ["--part\r\ncontent-disposition: form-data; ", what, "\r\n\r\n", content, "\r\n"] end
    wasm = part.(~s(name="wasm"; filename="a.wasm"), guest("wat", "init_loop"))
    body = [for({field, text} <- fields, do: part.(~s(name="#{field}"), text)), wasm, "--part--\r\n"]
    head = "POST /deploy HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=part\r\n"
    :ok = :gen_tcp.send(socket, [head, "content-length: #{IO.iodata_length(body)}\r\n\r\n", body])
    socket
  end

  test "a namespace with trials without an end gets no more places of deploys than it leaves to others", context do
    for namespace <- [context.slow, context.other],
        on_exit(fn -> remove!("#{namespace}/hello") end),
        version <- [1, 2] do
      assert {201, _headers, _function} = deploy("#{namespace}/hello", FaultVersion.module(version))
    end

    share = div(Deploys.most(), 2)
    begun = for number <- 1..share, do: start_deploy("#{context.slow}/#{number}")
    eventually(fn -> busy_instances() == share end, 20_000)
    assert Listener.held()["deploys"] == %{held: share, max: Deploys.most()}

    for number <- (share + 1)..Deploys.most() do
      name = "#{context.slow}/#{number}"
      assert {503, %{"retry-after" => "1"}, %{"error" => error}} = deploy(name, guest("wat", "init_loop"))
      assert %{"reason" => "overloaded", "function" => ^name, "message" => message} = error
      assert message =~ "#{context.slow}/*"
    end

    assert {503, _headers, %{"error" => %{"reason" => "overloaded"}}} = roll_back(context.slow)
    assert {201, _headers, %{"version" => 3}} = deploy("#{context.other}/hello", FaultVersion.module(3))
    assert {201, _headers, %{"version" => 4}} = roll_back(context.other)

    # With their clients the deploys end, and give their places back.
    Enum.each(begun, &:gen_tcp.close/1)
    eventually(fn -> match?({201, _headers, %{"version" => 3}}, roll_back(context.slow)) end, 20_000)
  end
end
