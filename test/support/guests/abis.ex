defmodule Tidepool.Abis do
  @moduledoc """
  How each ABI's guest of `guests/abis` is told what to do, and answers: one row for each ABI.

  What they do is a character, and what they answer is that of their version: see `program.wat` there.
  """

  import ExUnit.Assertions

  alias Tidepool.{Error, Peer}

  # How a client asks: method, path behind the function's name, and body of a character. How its answer is read. How Elixir
  # calls: operation and payload. What its instances may be.
  @rows %{
    wapc: %{form: :module, asked: {"POST", "/run", :char}, said: :char, call: {"run", :char}, kept: true},
    wasi: %{form: :module, asked: {"POST", "", :char}, said: :char, call: {nil, :char}, kept: false},
    extism: %{form: :module, asked: {"POST", "/run", :char}, said: :char, call: {"run", :char}, kept: true},
    exports: %{form: :module, asked: {"POST", "/run", :list}, said: :number, call: {:run, :list}, kept: true},
    typed: %{form: :component, asked: {"POST", "/run", :list}, said: :number, call: {:run, :list}, kept: true},
    http: %{form: :component, asked: {"GET", "/", :path}, said: :status, call: nil, kept: true},
    command: %{form: :component, asked: {"POST", "", :char}, said: :char, call: {nil, :char}, kept: false},
    # Programs of processes are not called: they are started.
    lunatic: %{form: :module, asked: :start, said: :line, call: nil, kept: false}
  }

  @doc "The ABIs that have a row, with what their guests are: `:module` or `:component`."
  @spec all :: [{atom, :module | :component}]
  def all, do: for({abi, row} <- Enum.sort(@rows), do: {abi, row.form})

  @doc "Is it called? If not, its guests are programs that are started."
  def called?(abi), do: @rows[abi].asked != :start

  @doc "What instances of the ABI may be."
  def instances(abi), do: if(@rows[abi].kept, do: [:fresh, {:warm, 2}], else: [:fresh])

  @doc "The guest of an ABI, of one of nine versions."
  @spec guest(atom, 1..9) :: binary
  def guest(abi, version \\ 1) do
    wasm = Tidepool.Case.guest("abis", to_string(abi))
    :binary.replace(wasm, "version 1", "version #{version}")
  end

  @doc """
  Has a guest do something, on the node of an edge's port: `{:ok, version}`, or `{:error, reason}` with the reason as metrics have it,
  and of a limit which it was.
  """
  def run(abi, name, what, where \\ :here), do: run(@rows[abi], name, what, where, abi)

  defp run(%{asked: :start}, name, what, :here, _abi), do: start(name, what)
  defp run(%{asked: :start}, name, what, peer, _abi), do: Peer.call(peer, __MODULE__, :start, [name, what])

  defp run(%{asked: {method, path, form}} = row, name, what, where, _abi) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port(where), [:binary, active: false])
    {rest, body} = if form == :path, do: {<<what>>, ""}, else: {"", payload(form, what)}
    head = "#{method} /call/#{name}#{path}#{rest} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    :ok = :gen_tcp.send(socket, [head, "content-length: #{IO.iodata_length(body)}\r\n\r\n", body])
    [head, body] = socket |> heard("") |> String.split("\r\n\r\n", parts: 2)
    [_version, status | _text] = String.split(head, " ", parts: 3)
    read(row.said, String.to_integer(status), body)
  end

  defp port(:here), do: TidepoolWeb.Listener.port()
  defp port(peer), do: Peer.call(peer, TidepoolWeb.Listener, :port, [])

  defp payload(:char, what), do: <<what>>
  defp payload(:list, what), do: "[#{what}]"

  defp heard(socket, so_far) do
    case :gen_tcp.recv(socket, 0, 120_000) do
      {:ok, more} -> heard(socket, so_far <> more)
      {:error, :closed} -> so_far
    end
  end

  defp read(:char, 200, <<version>>), do: {:ok, version - ?0}
  defp read(:number, 200, number), do: {:ok, String.to_integer(number) - ?0}
  defp read(:status, status, "") when status >= 200 + ?0, do: {:ok, status - 200 - ?0}

  defp read(_said, _status, body) do
    {:ok, %{"error" => error}} = Tidepool.Native.json_decode(body)
    {:error, Enum.join([error["reason"] | List.wrap(error["limit"])], " ")}
  end

  @doc "Calls from Elixir, in the caller's own process: the same answers. `nil` of ABIs that Elixir does not call."
  def call(abi, name, what), do: call(@rows[abi].call, name, what, abi)

  defp call(nil, _name, _what, _abi), do: nil

  defp call({operation, form}, name, what, _abi) do
    case Tidepool.call(name, operation, if(form == :list, do: [what], else: <<what>>)) do
      {:ok, <<version>>} -> {:ok, version - ?0}
      {:ok, version} when is_integer(version) -> {:ok, version - ?0}
      {:error, %Error{reason: reason}} -> {:error, reason(reason)}
    end
  end

  # A program computes for as long as its start says.
  @doc false
  def start(name, what) do
    {:ok, %{limits: %{cpu_time: cpu_time}}} = Tidepool.fetch(name)
    options = [output: self(), cpu_time: cpu_time]

    # Linked, so that it ends with whoever waits for it.
    Process.flag(:trap_exit, true)
    {:ok, pid} = Tidepool.Process.start_link(name, [name, <<what>>], options)

    receive do
      {:EXIT, ^pid, :normal} ->
        assert_received {:tidepool_output, ^pid, :stdout, <<version>>}
        {:ok, version - ?0}

      {:EXIT, ^pid, {%Error{reason: reason}, []}} ->
        {:error, reason(reason)}
    end
  end

  defp reason({kind, which}) when kind == :limit, do: "limit #{which}"
  defp reason({kind, _which}), do: to_string(kind)
  defp reason(reason), do: to_string(reason)
end
