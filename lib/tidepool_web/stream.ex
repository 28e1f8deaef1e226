defmodule TidepoolWeb.Stream do
  @moduledoc """
  Bodies that come in pieces, for the process that serves the request: an answer that goes on, and a request that is read as it
  comes.

  The edge holds 64 KiB of an answer: `write/2` waits while its client does not read. It ends with `{:error, :closed}` when the
  client is gone, or has taken nothing for `write_timeout`. A process that does something else than write is told as well, by
  messages:

  - `{:tidepool_stream, id, :closed}`: the client does not read any more.
  - `{:tidepool_stream, id, :draining}`: the node is about to stop. A stream that ends now ends well, and its client goes to
    another node.

  A process that dies ends the body such that no client takes it for whole.

  Of a request nothing is read that was not asked for: `read/1` waits for the next piece.
  """

  alias Tidepool.Native

  @enforce_keys [:native, :id]
  defstruct [:native, :id]

  @typedoc "An answer that goes on; `id` is that of its messages."
  @type t :: %__MODULE__{native: Native.stream(), id: pos_integer}

  @typedoc "A request's body that comes in pieces."
  @type body :: {Native.body(), id :: pos_integer}

  @doc "Writes, and waits until the edge has all of it."
  @spec write(t, iodata) :: :ok | {:error, :closed}
  def write(stream, data), do: push(stream, IO.iodata_to_binary(data))

  defp push(_stream, ""), do: :ok

  defp push(%{native: native, id: id} = stream, data) do
    case Native.http_write(native, data) do
      :closed ->
        {:error, :closed}

      taken when taken == byte_size(data) ->
        :ok

      taken ->
        # A client may take its time: what was read and encoded for it is garbage until then.
        :erlang.garbage_collect()

        receive do
          {:tidepool_stream, ^id, :room} -> push(stream, binary_part(data, taken, byte_size(data) - taken))
          {:tidepool_stream, ^id, :closed} -> {:error, :closed}
        end
    end
  end

  @doc """
  The next piece of a request's body, as large as it came.

  Whatever is wrong with a body (it is too large, or comes too slowly, or not at all) is answered by the edge, and ends the
  process; only when an answer has begun it is an error here, with the reason as in docs/http.md.
  """
  @spec read(body) :: {:ok, binary} | :done | {:error, reason :: String.t()}
  def read({native, id} = body) do
    case Native.http_read(native) do
      {:data, data} -> {:ok, data}
      :later -> receive(do: ({:tidepool_body, ^id, :ready} -> read(body)))
      over -> over
    end
  end

  @doc false
  # Begins an answer for a responder, has `fun` write it, and ends it.
  @spec run(Native.responder(), 200..599, TidepoolWeb.Reply.type(), [{String.t(), String.t()}], (t -> term)) :: :ok
  def run(responder, status, type, headers, fun) do
    with {:ok, native, id} <- Native.http_stream(responder, status, type, headers) do
      fun.(%__MODULE__{native: native, id: id})
      Native.http_finish(native)
    end

    :ok
  end
end
