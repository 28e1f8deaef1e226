defmodule TidepoolWeb.Resources.Functions.Replay do
  @moduledoc "Runs a call that was recorded again, on this node or elsewhere: see `Tidepool.Recording.replay/3`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Error, Native, Recording}
  alias TidepoolWeb.Reply

  # The longest recording and the largest module, in Base64.
  @body_bytes 100_663_296
  # Names and texts, and what is between them.
  @texts 6
  @between 4_096
  @members ["recording", "module", "against"]

  @impl true
  # It runs a module that somebody brings, as a deploy does.
  def routes, do: [{"POST", "/replay", scope: :deploy, body: {:whole, @body_bytes}, deploys: true}]

  @impl true
  def serve("POST", ["replay"], %{body: body}) do
    with {:ok, recording, module, against?} <- asked(if(plain?(body), do: Native.json_decode_large(body))),
         {:ok, report} <- Recording.replay(recording, module, against: against?) do
      Reply.json(200, report)
    else
      {:error, error} -> Reply.error(error)
    end
  end

  # Base64 has neither quotes nor brackets, so there are a few texts, and little between them: other JSON would be many times its size as
  # terms. A quote within a text is no end of it, and no text that is asked for has one.
  defp plain?(body), do: plain?(body, 0, @texts, @between)

  defp plain?(body, at, texts, between) do
    case quoted(body, at) do
      {from, to} when texts > 0 and from - at <= between -> plain?(body, to, texts - 1, between - (from - at))
      :none -> byte_size(body) - at <= between
      _other -> false
    end
  end

  # Where the next text begins, and where it is over.
  defp quoted(body, at) do
    case :binary.match(body, "\"", scope: {at, byte_size(body) - at}) do
      {from, 1} -> ended(from, :binary.match(body, "\"", scope: {from + 1, byte_size(body) - from - 1}), body)
      :nomatch -> :none
    end
  end

  defp ended(from, {to, 1}, body), do: if(:binary.at(body, to - 1) == ?\\, do: :other, else: {from, to + 1})
  defp ended(_from, :nomatch, _body), do: :other

  defp asked({:ok, %{"recording" => recording} = asked}) do
    with [] <- Map.keys(asked) -- @members,
         {:ok, recording} <- bytes(recording),
         {:ok, module} <- bytes(asked["module"]),
         against? when is_boolean(against?) <- Map.get(asked, "against", false),
         true <- recording != nil and (module != nil or not against?) do
      {:ok, recording, module, against?}
    else
      _other -> asked(:error)
    end
  end

  defp asked(_other) do
    message =
      "the body has to be a JSON object with `recording`, a file in Base64; `module`, the one that was called, in Base64, where this " <>
        "node has it not; and `against`, true when the module is another version of it"

    {:error, Error.new(:invalid_option, message)}
  end

  defp bytes(nil), do: {:ok, nil}
  defp bytes(text) when is_binary(text), do: Base.decode64(text)
  defp bytes(_other), do: :error
end
