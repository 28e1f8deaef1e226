# Writes the folder of this version; see README.md.
version = Mix.Project.config()[:version]
folder = Path.join(__DIR__, version)
if File.exists?(folder), do: Mix.raise("#{folder} is there: what a version has written stays as it is")

data = Path.join(System.tmp_dir!(), "tidepool-kept-#{System.pid()}")
for {key, value} <- [server: true, port: 0, data: data, token: "kept"], do: Application.put_env(:tidepool, key, value)
{:ok, _started} = Application.ensure_all_started(:tidepool)
guest = &File.read!("guests/build/rust/#{&1}.wasm")

described = [name: "hello", description: "Says hello.", labels: %{"team" => "shop"}]
{:ok, %{version: 1}} = Tidepool.deploy(guest.("counter"), described)
{:ok, %{version: 2}} = Tidepool.deploy(guest.("hello_world"), described ++ [limits: [time: 4_321]])
{:ok, %{version: 1}} = Tidepool.deploy(guest.("hello_world"), name: "shop/hello", engine: :dense, instances: {:warm, 3})
{:ok, %{version: 1}} = Tidepool.deploy(guest.("hello_world"), name: "gone")
:ok = Tidepool.remove("gone")

{:ok, %{version: 1}} = Tidepool.deploy(guest.("ledger"), name: "ledger", actor: true)
{:ok, "40"} = Tidepool.Actor.call("ledger", "alice", "add", "40")
{:ok, "42"} = Tidepool.Actor.call("ledger", "alice", "add", "2", request_id: "order-5")
{:ok, "7"} = Tidepool.Actor.call("ledger", "bob", "add", "7")

{:ok, _token, secret} =
  Tidepool.Tokens.make(name: "ci", scopes: ["deploy"], functions: "shop/*", expires_in: 10 * 365 * 86_400)

:ok = Application.stop(:tidepool)
# What has been compiled is of this machine.
node = Path.join(data, to_string(node()))
for name <- ["compiled", "lock"], do: File.rm_rf!(Path.join(node, name))
File.cp_r!(node, folder)
# Of no use to anybody else: the token is of this folder alone.
File.write!(folder <> ".secret", secret <> "\n")
File.rm_rf!(data)
