defmodule TidepoolWeb.ServeTest do
  # Handlers of HTTP respond here as they do under `wasmtime serve`: the same requests, by hand, to both.
  use Tidepool.Case

  alias Tidepool.HttpGuests

  # Made by bin/setup --test with TIDEPOOL_LONG set; of the version that the library has in it.
  @version ~r/name = "wasmtime"\nversion = "([^"]+)"/ |> Regex.run(File.read!("native/Cargo.lock")) |> List.last()
  @cache System.get_env("XDG_CACHE_HOME") || Path.join(System.user_home!(), ".cache")
  @wasmtime Enum.find(
              ["_build", Path.join(@cache, "tidepool")],
              &File.exists?("#{&1}/wasmtime-#{@version}/bin/wasmtime")
            )

  @moduletag skip: @wasmtime == nil
  @moduletag timeout: 1_200_000

  @methods ~w(GET GET GET HEAD POST POST POST PUT DELETE PATCH OPTIONS PROPFIND)
  # What is about one connection, and differs by the clock.
  @own ~w(connection date)

  # What the node has responses say on its own origin. It takes away what is about the whole origin there, which no guest here sets:
  # handlers_test.exs has that.
  @confined ["content-security-policy: sandbox", "x-content-type-options: nosniff"]

  # What is compared is what is answered, and not how fast a busy machine is.
  @patient [time: 60_000, cpu_time: 60_000]

  for {language, guest, _lacks, heavy} <- HttpGuests.guests() do
    @tag skip: @wasmtime == nil or (heavy and System.get_env("TIDEPOOL_LONG", "") == "")
    @tag language: language, guest: guest
    test "generated requests get equal responses (#{language}/#{guest})", %{language: language, guest: guest} do
      # As long as the node's own, which a guest may say: the lengths of bodies are compared, too.
      host = "s" <> String.pad_leading("#{System.unique_integer([:positive])}", byte_size("localhost") - 1, "0")
      name = deploy!(language, guest, routes: ["#{host}/..."], limits: @patient)
      theirs = serve!(guest_path(language, guest))
      [sites, calls] = [TidepoolWeb.Listener.sites_port(), TidepoolWeb.Listener.port()]
      :rand.seed(:exsss, {7, 7, 7})

      for number <- 1..sample(100, 2_000) do
        request = request(host)
        {status, headers, body} = theirs_say = ask(theirs, request)
        assert {number, request, ask(sites, request)} == {number, request, theirs_say}
        # The node's own origin has its own name, and says two things more.
        request = %{request | host: "localhost", path: "/call/#{name}" <> request.path}
        {own_status, own_headers, own} = ask(calls, request)
        assert {number, request, @confined -- own_headers} == {number, request, []}
        own_say = {own_status, own_headers -- @confined, own}
        assert {number, request, own_say} == {number, request, {status, headers, renamed(body, host)}}
      end
    end
  end

  defp serve!(wasm) do
    port = Tidepool.FreePort.take()
    options = ["serve", "-S", "cli=y", "--addr", "127.0.0.1:#{port}", Path.expand(wasm)]
    program = Path.expand("#{@wasmtime}/wasmtime-#{@version}/bin/wasmtime")
    # It ends with its input, which ends with this process.
    script = ~s(exec 3<&0; "$0" "$@" </dev/null & trap "kill $!" EXIT; cat <&3)

    port_of =
      Port.open({:spawn_executable, "/bin/sh"}, [:binary, :stderr_to_stdout, args: ["-c", script, program | options]])

    on_exit(fn -> if Port.info(port_of), do: Port.close(port_of) end)
    # Python, of 18 MB, is compiled in a minute on busy cores.
    eventually(fn -> match?({:ok, _socket}, :gen_tcp.connect({127, 0, 0, 1}, port, [])) end, 240_000)
    port
  end

  defp request(host) do
    method = Enum.random(@methods)
    {body, framing} = if method in ["GET", "HEAD"], do: {"", []}, else: body()
    headers = for _header <- 1..(:rand.uniform(6) - 1)//1, do: "x-#{word()}: #{word()} #{word()}\r\n"
    %{method: method, path: path(), host: host, headers: [headers, framing], body: body}
  end

  defp renamed({body, trailers}, host), do: {renamed(body, host), trailers}
  defp renamed(body, host), do: String.replace(body, host, "localhost")

  defp path do
    path =
      case :rand.uniform(8) do
        1 -> "/echo"
        2 -> "/echo"
        3 -> "/sha256"
        4 -> "/headers"
        5 -> "/status/#{199 + :rand.uniform(400)}"
        6 -> "/events?n=#{:rand.uniform(30)}"
        7 -> Enum.random(["/hello", "/count", "/", "//", "/.", "/%2e%2e/a"])
        8 -> "/#{word()}/%2F#{word()}"
      end

    if :rand.uniform(3) == 1 and not String.contains?(path, "?"), do: path <> "?#{word()}=#{word()}&a%20b", else: path
  end

  defp body do
    bytes = :rand.bytes(Enum.random([0, 1, 100, 5_000, 70_000]))

    case :rand.uniform(3) do
      1 ->
        {bytes, ["content-length: #{byte_size(bytes)}\r\n"]}

      2 ->
        {[chunks(bytes), "0\r\n\r\n"], ["transfer-encoding: chunked\r\n"]}

      3 ->
        {[chunks(bytes), "0\r\nx-sum: 1\r\n\r\n"], ["te: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n"]}
    end
  end

  defp chunks(""), do: []

  defp chunks(bytes) do
    {chunk, rest} = :erlang.split_binary(bytes, min(byte_size(bytes), :rand.uniform(20_000)))
    [Integer.to_string(byte_size(chunk), 16), "\r\n", chunk, "\r\n" | chunks(rest)]
  end

  defp word, do: for(_letter <- 1..:rand.uniform(8), into: "", do: <<Enum.random(?a..?z)>>)

  # Status, headers in their order, and the body: as it is, or of its chunks, with trailers.
  defp ask(port, request) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    # One that answers before it has read all may close on the rest.
    %{method: method, path: path, host: host, headers: headers, body: body} = request
    head = "#{method} #{path} HTTP/1.1\r\nhost: #{host}\r\nconnection: close\r\n"
    _sent = :gen_tcp.send(socket, [head, headers, "\r\n", body])
    [head, body] = socket |> heard("") |> String.split("\r\n\r\n", parts: 2)
    [status | headers] = String.split(head, "\r\n")
    headers = Enum.reject(headers, fn header -> hd(String.split(header, ":")) in @own end)
    chunked? = "transfer-encoding: chunked" in headers and method != "HEAD"
    {status, headers, if(chunked?, do: dechunked(body, ""), else: body)}
  end

  defp heard(socket, so_far) do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, more} -> heard(socket, so_far <> more)
      {:error, _closed} -> so_far
    end
  end

  defp dechunked(chunked, so_far) do
    [size, rest] = String.split(chunked, "\r\n", parts: 2)

    case String.to_integer(size, 16) do
      0 -> {so_far, rest}
      size -> dechunked(binary_part(rest, size + 2, byte_size(rest) - size - 2), so_far <> binary_part(rest, 0, size))
    end
  end
end
