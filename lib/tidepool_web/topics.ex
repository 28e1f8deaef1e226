defmodule TidepoolWeb.Topics do
  @moduledoc """
  What a stream of `GET /events?topics=…` may be about, and which clients may read it.

  | topic | |
  | --- | --- |
  | `functions` | deploys, removals, nodes that come and go: what the stream without topics has |
  | `logs`, `logs:NAME` | what guests print, all of them or those of a function |
  | `failures`, `failures:NAME` | calls that fail |
  | `figures` | what calls come to, every two seconds |

  What guests print is for clients that may read a function's log (`TidepoolWeb.Resources.Functions.Recent`): where the node has a token, that is its
  bearer, a session, and tokens with the scope `read`, for their functions. Of `functions` and `figures` a token for some functions has
  those of these (`Tidepool.Tokens.Access.sees?/2`), and nothing of nodes.
  """

  alias Tidepool.{Config, Error, Options}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Function.Spec
  alias Tidepool.Tokens.{Access, Token}
  alias TidepoolWeb.Reply

  # A page has one stream for all that it shows.
  @most 16

  @type t :: :functions | :figures | {:lines | :failures, name :: String.t() | nil}

  @doc """
  The topics of a list with commas, each once.

      iex> TidepoolWeb.Topics.read("functions,logs:shop,failures,logs:shop")
      {:ok, [:functions, {:lines, "shop"}, {:failures, nil}]}
      iex> {:error, error} = TidepoolWeb.Topics.read("log")
      iex> error.reason
      :invalid_option
  """
  @spec read(String.t()) :: {:ok, [t, ...]} | {:error, Error.t()}
  def read(text) do
    # Of a list with thousands no more are looked at than tell that there are too many.
    texts = text |> String.splitter(",") |> Stream.uniq() |> Enum.take(@most + 1)
    topics = Enum.map(texts, &topic/1)

    cond do
      length(texts) > @most ->
        wrong("a stream has #{@most} topics at most")

      :error in topics ->
        wrong(
          "#{Options.show(Enum.at(texts, Enum.find_index(topics, &(&1 == :error))))} is no topic: there are #{known()}"
        )

      true ->
        {:ok, topics}
    end
  end

  defp known, do: "functions, figures, logs, logs:NAME, failures and failures:NAME"

  defp wrong(message), do: {:error, Error.new(:invalid_option, "the parameter `topics`: " <> message)}

  defp topic("functions"), do: :functions
  defp topic("figures"), do: :figures
  defp topic("logs"), do: {:lines, nil}
  defp topic("failures"), do: {:failures, nil}
  defp topic("logs:" <> name), do: of(:lines, name)
  defp topic("failures:" <> name), do: of(:failures, name)
  defp topic(_other), do: :error

  defp of(kind, name), do: if(Spec.name?(name), do: {kind, name}, else: :error)

  @doc "What a topic is called."
  @spec name(t) :: String.t()
  def name({:lines, name}), do: named("logs", name)
  def name({:failures, name}), do: named("failures", name)
  def name(topic), do: Atom.to_string(topic)

  defp named(kind, nil), do: kind
  defp named(kind, name), do: "#{kind}:#{name}"

  @doc "May the client of this request read this now? Otherwise it is the answer."
  @spec permit([t], Origin.t()) :: :ok | {:error, Reply.t()}
  def permit(topics, origin) do
    case for {_kind, name} <- topics, do: name do
      [] -> live(origin)
      names -> if Config.get(:token), do: permitted(names, origin), else: :ok
    end
  end

  # Who has come without a token is let in by the edge, or is not.
  defp live(origin), do: with({:ok, _token} <- Access.of(origin), do: :ok, else: ({:error, _gone} -> unauthorized()))

  defp permitted(_names, {:no_token, _peer}), do: unauthorized()

  defp permitted(names, origin) do
    case Access.of(origin) do
      {:ok, nil} -> :ok
      {:ok, token} -> if reads?(token, names), do: :ok, else: forbidden(token)
      {:error, _gone} -> unauthorized()
    end
  end

  # Those of all functions are for tokens of all.
  defp reads?(%{scopes: scopes, functions: functions}, names) do
    ("read" in scopes or "admin" in scopes) and
      Enum.all?(names, fn name -> functions == "*" or (name != nil and Token.covers?(functions, name)) end)
  end

  defp forbidden(%{name: name}) do
    message = "the token #{name} is not for reading all of these topics: ask with another one, or have one made"
    {:error, Reply.refusal(:forbidden, message, %{token: name, scope: "read"})}
  end

  defp unauthorized do
    message = "these topics are for tokens: send one that is good in the header `Authorization: Bearer TOKEN`"
    {status, type, headers, body} = Reply.refusal(:unauthorized, message)
    {:error, {status, type, [{"www-authenticate", ~s(Bearer realm="tidepool")} | headers], body}}
  end
end
