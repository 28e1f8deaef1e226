# A node for the tests of the page. It says where it listens, then a code for each line that it reads, and ends with its input.
settings = [port: 0, data: :temporary, server: true]
token = System.get_env("TOKEN")
for {key, value} <- settings, do: Application.put_env(:tidepool, key, value)
if token, do: Application.put_env(:tidepool, :token, token)
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
for _line <- IO.stream(:stdio, :line), do: IO.puts("code #{TidepoolWeb.Listener.open_code()}")
System.halt(0)
