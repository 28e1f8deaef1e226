defmodule TidepoolWeb.Resources.Tool do
  @moduledoc """
  The command line tool, if this checkout or release has one: `bin/cli` builds it into `priv/cli`. It is read anew for each
  who asks, so that one that was just built is there at once, and written in pieces.
  """

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.{Reply, Stream}

  # Each holds a file open, and few want one at a time.
  @places 8
  @piece 65_536

  @impl true
  def routes, do: [{"GET", "/cli/tidepool", scope: :read, public: true, query: :ignored, places: @places}]

  @impl true
  def serve("GET", ["cli", "tidepool"], _request) do
    # By the process that serves the request, which closes it when it ends.
    case File.open(path(), [:read, :raw, :binary]) do
      {:ok, file} ->
        {:stream, 200, :bytes, [{"content-disposition", ~s(attachment; filename="tidepool")}], &send_all(&1, file)}

      {:error, _reason} ->
        Reply.refusal(:not_found, "this node has no tool: bin/cli builds it", %{path: "cli/tidepool"})
    end
  end

  @doc "Where the tool is, if there is one."
  @spec path :: Path.t()
  def path, do: Application.app_dir(:tidepool, "priv/cli/tidepool")

  defp send_all(stream, file) do
    with {:ok, data} <- :file.read(file, @piece), :ok <- Stream.write(stream, data), do: send_all(stream, file)
  end
end
