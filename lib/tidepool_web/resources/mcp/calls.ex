defmodule TidepoolWeb.Resources.Mcp.Calls do
  @moduledoc """
  What comes of requests of the Model Context Protocol.

  What goes wrong within a tool is its result, with `isError`, so that a model hears of it: the value of a `result`'s
  error, or the reason and the message of any other. `_meta` has all that `/call` would tell. An error of the protocol
  is for what names no tool, or is no such request.
  """

  alias Tidepool.{Error, Execution, Native}
  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resources.Mcp.{Messages, Reading, Tools}

  # Of what was sent, so much is in an error.
  @shown 128

  @doc "The result of a request, or its error."
  @spec answer(Messages.request(), Origin.t()) :: Messages.outcome()
  def answer({"initialize", %{"protocolVersion" => wanted}, _version}, _origin) when is_binary(wanted) do
    version = Messages.agreed(wanted)
    server = %{name: "tidepool", version: to_string(Application.spec(:tidepool, :vsn))}
    server = if Messages.structured?(version), do: Map.put(server, :title, "Tidepool"), else: server
    {:ok, Native.json_encode(%{protocolVersion: version, capabilities: %{tools: %{}}, serverInfo: server})}
  end

  def answer({"initialize", _params, _version}, _origin),
    do: {:error, :invalid_params, "`protocolVersion` is missing: one of #{Enum.join(Messages.versions(), ", ")}"}

  def answer({"ping", _params, _version}, _origin), do: {:ok, "{}"}

  def answer({"tools/list", params, version}, origin) do
    case params["cursor"] && Tools.position(params["cursor"]) do
      nil -> {:ok, page(origin, nil, version)}
      {:ok, position} -> {:ok, page(origin, position, version)}
      :error -> {:error, :invalid_params, "this `cursor` is none that a list has ended with"}
    end
  end

  def answer({"tools/call", %{"name" => name} = params, version}, origin) when is_binary(name) do
    with {:ok, tool} <- Tools.find(origin, name),
         {:ok, arguments} <- arguments(params["arguments"] || %{}, tool) do
      if Reading.large?(arguments), do: Reading.finish(origin)
      {:ok, call(tool, arguments, version)}
    else
      :error -> {:error, :invalid_params, "unknown tool: #{String.slice(name, 0, @shown)}"}
      {:error, message} -> {:error, :invalid_params, message}
    end
  end

  def answer({"tools/call", _params, _version}, _origin),
    do: {:error, :invalid_params, "`name` is missing: that of a tool, as `tools/list` tells it"}

  def answer({method, _params, _version}, _origin),
    do:
      {:error, :unknown_method,
       "there is no method #{String.slice(method, 0, @shown)} here: this server has tools alone"}

  defp page(origin, position, version) do
    {tools, more} = Tools.page(origin, position, Messages.structured?(version))
    more = if more, do: [~s(,"nextCursor":), Native.json_encode(Tools.cursor(more))], else: []
    [~s({"tools":[), Enum.intersperse(tools, ?,), ?], more, ?}]
  end

  defp arguments(%{} = arguments, {_function, export, _name}) do
    # How much they are shows when they are written.
    {:ok, arguments |> Tools.whole(export) |> Native.json_encode_large()}
  rescue
    # JSON is read deeper than it is written.
    ArgumentError -> {:error, "`arguments` are nested too deep"}
  end

  defp arguments(_other, _tool), do: {:error, "`arguments` are a JSON object, by the names of the parameters"}

  defp call({function, export, _name}, arguments, version) do
    case Execution.call(function.name, export["name"], arguments) do
      {:ok, json} ->
        structured? = Messages.structured?(version) and Tools.object?(export["result"]["schema"])
        [content(json), if(structured?, do: [~s(,"structuredContent":), json], else: []), ~s(,"isError":false})]

      {:error, error} ->
        meta = Native.json_encode(%{"tidepool/error" => Reply.members(error)})
        [content(text(error)), ~s(,"_meta":), meta, ~s(,"isError":true})]
    end
  end

  defp content(text), do: [~s({"content":), Native.json_encode([%{type: "text", text: text}])]

  # What the guest says is for whoever has called it.
  defp text(%Error{reason: :guest_error, details: %{value: value}}), do: Native.json_encode(value)
  defp text(%Error{} = error), do: "#{Error.reason(error)}: #{error.message}"
end
