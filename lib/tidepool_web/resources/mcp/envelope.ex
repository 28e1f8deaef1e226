defmodule TidepoolWeb.Resources.Mcp.Envelope do
  @moduledoc """
  What a request of the protocol says beside its message: by headers, and by `_meta` of its parameters.

  Since version 2026-07-28 each request has its version there, and what its client can do; headers have the version, the
  method and the tool once more, for who routes by them. Where both disagree the request is refused, so that nobody
  is led past such a router. An older request has a session, which is an id and nothing else: this node keeps none of
  them. It is told by `initialize`, and tells a client's calls from those of others.
  """

  alias Tidepool.Options
  alias TidepoolWeb.Resources.Mcp.Messages

  @prefix "io.modelcontextprotocol/"
  @required [@prefix <> "protocolVersion", @prefix <> "clientCapabilities"]

  # Of a session's id, as Base64 without padding: nobody guesses another's.
  @session_bytes 24
  @session ~r/\A[A-Za-z0-9_-]{32}\z/

  # Methods that headers name the object of, by this parameter.
  @named %{"tools/call" => "name", "prompts/get" => "name", "resources/read" => "uri"}

  @doc "The version that a request is of."
  @spec version(headers :: map) :: {:ok, Messages.version()} | Messages.refused()
  def version(headers) do
    said = headers["mcp-protocol-version"]

    with :error <- Messages.version(said) do
      spoken = Messages.versions()
      message = "this `mcp-protocol-version` is not spoken here: #{Enum.join(spoken, ", ")} are"
      {:refused, 400, :unsupported_version, message, %{supported: spoken, requested: shortened(said)}}
    end
  end

  defp shortened(said), do: Options.cut(said, 64)

  @doc "A new id of a session."
  @spec new_session :: String.t()
  def new_session, do: Base.url_encode64(:crypto.strong_rand_bytes(@session_bytes), padding: false)

  @doc "The session that a request names, if it is of a version that has any."
  @spec session(headers :: map, Messages.version()) :: {:ok, String.t() | nil} | Messages.refused()
  def session(headers, version) do
    said = if Messages.alone?(version), do: nil, else: headers["mcp-session-id"]

    if said == nil or said =~ @session,
      do: {:ok, said},
      else: {:refused, 404, :invalid_request, "this `mcp-session-id` is none of this server's: `initialize` tells one"}
  end

  @doc "Do messages say by headers and by `_meta` what their version has them say?"
  @spec check([Messages.message()], headers :: map, Messages.version()) :: :ok | Messages.refused()
  def check([{:request, id, method, params}], headers, version) do
    if Messages.alone?(version), do: said(id, method, params, headers, version), else: older(id, params, version)
  end

  def check(_messages, _headers, _version), do: :ok

  defp said(id, method, params, headers, version) do
    meta = params["_meta"]
    missing = if is_map(meta), do: Enum.reject(@required, &is_map_key(meta, &1)), else: @required

    cond do
      missing != [] ->
        {:refused, 400, :invalid_params, "`_meta` of a request's `params` lacks #{Enum.join(missing, " and ")}",
         %{id: id}}

      meta[@prefix <> "protocolVersion"] != version ->
        mismatch(id, "mcp-protocol-version", "protocolVersion")

      not is_map(meta[@prefix <> "clientCapabilities"]) ->
        {:refused, 400, :invalid_params, "`#{@prefix}clientCapabilities` is a JSON object", %{id: id}}

      headers["mcp-method"] != method ->
        mismatch(id, "mcp-method", "method")

      true ->
        named(id, params[@named[method]], headers["mcp-name"])
    end
  end

  # What lacks its name is told so by its method.
  defp named(_id, nil, _said), do: :ok
  defp named(id, name, said), do: if(decoded(said) == name, do: :ok, else: mismatch(id, "mcp-name", "name"))

  defp decoded("=?base64?" <> rest) do
    with true <- String.ends_with?(rest, "?="),
         {:ok, text} <- Base.decode64(binary_part(rest, 0, byte_size(rest) - 2)) do
      text
    else
      _no_base64 -> nil
    end
  end

  defp decoded(said), do: said

  # One that has a version of its own in its body has to name it by a header, too.
  defp older(id, %{"_meta" => %{"io.modelcontextprotocol/protocolVersion" => said}}, version) when said != version,
    do: mismatch(id, "mcp-protocol-version", "protocolVersion")

  defp older(_id, _params, _version), do: :ok

  defp mismatch(id, header, member),
    do: {:refused, 400, :header_mismatch, "the header `#{header}` has to be the `#{member}` of the body", %{id: id}}

  @doc """
  The token that a client wants to be told of a request's progress by: `nil` if it does not.

      iex> alias TidepoolWeb.Resources.Mcp.Envelope
      iex> for token <- ["a", 1, 1.5, String.duplicate("a", 257)], do: Envelope.progress(%{"_meta" => %{"progressToken" => token}})
      [{:ok, "a"}, {:ok, 1}, :error, :error]
      iex> Envelope.progress(%{})
      {:ok, nil}
  """
  @spec progress(params :: map) :: {:ok, Messages.id() | nil} | :error
  def progress(%{"_meta" => %{"progressToken" => token}})
      when is_integer(token) or (is_binary(token) and byte_size(token) <= 256),
      do: {:ok, token}

  def progress(%{"_meta" => %{"progressToken" => _other}}), do: :error
  def progress(_params), do: {:ok, nil}
end
