# A node for the tests of the page. It says where it listens, then a code for each line that it reads, and ends with its input.
settings = [port: 0, data: :temporary, server: true]
named = [token: "TOKEN", tls_cert: "TLS_CERT", tls_key: "TLS_KEY"]
given = for {key, variable} <- named, value = System.get_env(variable), do: {key, value}

# A node that keeps actors by itself as several keep them together.
together =
  if System.get_env("TOGETHER") do
    # Its port mapper is that of ERL_EPMD_PORT, and runs.
    {:ok, _started} = Node.start(:"page_#{System.pid()}@127.0.0.1")
    folder = Path.join(System.tmp_dir!(), "tidepool-page-#{System.pid()}")
    System.at_exit(fn _status -> File.rm_rf!(folder) end)
    [actors: {:replicated, [to_string(node())]}, cluster: true, data: folder]
  else
    []
  end

words = if System.get_env("CALLS") == "token", do: [calls: :token], else: []
for {key, value} <- settings ++ given ++ words ++ together, do: Application.put_env(:tidepool, key, value)
{:ok, _started} = Application.ensure_all_started(:tidepool)

# So many functions more than the tests deploy.
count = String.to_integer(System.get_env("FUNCTIONS", "0"))
wasm = File.read!("guests/build/rust/hello_world.wasm")

1..count//1
|> Task.async_stream(
  fn number ->
    name = "many_#{String.pad_leading("#{number}", 4, "0")}"
    {:ok, _function} = Tidepool.deploy(wasm, name: name, operation: "hello")
  end,
  timeout: :infinity
)
|> Stream.run()

IO.puts("listens #{TidepoolWeb.Listener.port()}")
IO.puts("sites #{TidepoolWeb.Listener.sites_port()}")
for _line <- IO.stream(:stdio, :line), do: IO.puts("code #{TidepoolWeb.Listener.open_code()}")
System.stop(0)
Process.sleep(:infinity)
