defmodule Tidepool.Tokens do
  @moduledoc """
  Tokens beside the node's own: each with a name, what it is for (`t:Tidepool.Tokens.Token.t/0`), and an end.

  The node's own token, the setting `token`, may do everything and makes the first ones. A token that was made with the scope
  `admin` for all functions makes others, which don't expire after it; they stay when it is revoked, unless that is asked for as
  well. A node without a token is open, and has none.

  All nodes of a cluster know all tokens. A change is written down, in force at this node's edge, and on its way to the others when the
  function that makes it returns; whoever hears of something new passes it on. A node that is linked with anew, and every few seconds
  each, is told a hash of what is known here, and where that differs the two tell each other. A node that is parted from the
  others goes on with what it knew until it is back: a token that was revoked meanwhile is good there until then, or until it
  expires.

  Only the client that had a token made has its secret: here are their SHA-256 alone, and secrets are 256 random bits.
  """

  use GenServer

  require Logger

  alias Tidepool.{Audit, Config, Error, Log, Native, Options}
  alias Tidepool.Catalog.{Origin, Store}
  alias Tidepool.Cluster.Links
  alias Tidepool.Log.Change
  alias Tidepool.Nodes.Post
  alias Tidepool.Tokens.{Access, Bounds, Token}

  # How often it is looked whether there are new links, and how often those that there are get a digest.
  @look_ms 200
  @digest_looks 25
  # Tokens that are good at once, and names that are known: those of revoked ones, too, until all that had them would have expired.
  @most 1_000
  @most_names 10_000
  @year_s 31_536_000
  # Messages of other versions are ignored.
  @version 1

  @schema [
    name: [
      type: {:check, &Token.name?/1, "a name of 1 to 64 letters, digits, dots, dashes or underscores"},
      doc: "what it is called."
    ],
    scopes: [
      type: {:check, &__MODULE__.scopes?/1, "a list with any of #{Enum.map_join(Token.scopes(), ", ", &inspect/1)}"},
      doc:
        "what it is for: `read` modules; `call` functions and actors, and start processes; `deploy`, roll back and remove; `admin` is " <>
          "all of this, and what is of the cluster."
    ],
    functions: [
      type: {:check, &Token.functions?/1, "a function's name, or the beginning of some with * at its end"},
      default: "*",
      doc: "the functions that it is for, such as `shop-*`; `*` is all."
    ],
    grants: [
      type: {:check, &Bounds.valid?/1, Bounds.expectation()},
      default: nil,
      doc:
        "what it may grant the functions that it deploys, beside what functions have that say nothing: `Tidepool.Tokens.Bounds`. " <>
          "With the scope `admin` all there is, else nothing, if nothing is said."
    ],
    expires_in: [
      type: {:integer, 1, 10 * @year_s},
      default: nil,
      doc: "after how many seconds it expires; a year, or when its maker does, if nothing is said."
    ]
  ]

  @doc false
  # For `Tidepool.Options`.
  @spec schema :: Options.schema()
  def schema, do: @schema

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc """
  Makes a token: what is known of it, and its secret, which can't be asked for later.

  Errors have the reason `:invalid_option`, `:token_exists`, `:no_token` when this node is open, `:forbidden` when it would outlive who
  makes it, `:too_many_tokens`, or `:storage`.

  ## Options

  #{Options.docs(@schema)}
  """
  @spec make(keyword, Origin.t()) :: {:ok, Token.t(), secret :: String.t()} | {:error, Error.t()}
  def make(options, origin \\ :elixir) do
    with {:ok, options} <- Options.check(options, @schema, "the option") do
      scopes = Enum.filter(Token.scopes(), &(&1 in options.scopes))
      grants = options.grants || if("admin" in scopes, do: ["*"], else: [])
      secret = "tidepool_" <> Base.url_encode64(:crypto.strong_rand_bytes(32), padding: false)
      options = %{options | scopes: scopes, grants: grants} |> Map.put(:hash, sha256(secret))

      Change.make(fn ->
        with {:ok, token} <- GenServer.call(__MODULE__, {:make, options, origin}, :infinity) do
          Log.changed(:token_made, token.name, origin)
          {:ok, token, secret}
        end
      end)
    end
  end

  @doc """
  Ends a token and its sessions, on all nodes that can be reached at once; with `children: true` those that it has made as well,
  and what those have made. Told are their names, and of those that it has made and that stay.
  """
  @spec revoke(String.t(), Origin.t(), children: boolean) ::
          {:ok, %{also: [String.t()], left: [String.t()]}} | {:error, Error.t()}
  def revoke(name, origin \\ :elixir, options \\ []) do
    Change.make(fn ->
      with {:ok, revoked, left} <- GenServer.call(__MODULE__, {:revoke, name, options[:children] == true}, :infinity) do
        Enum.each(revoked, &Log.changed(:token_revoked, &1, origin))
        {:ok, %{also: tl(revoked), left: left}}
      end
    end)
  end

  @doc "The SHA-256 of a token's secret, by which it is found."
  @spec sha256(secret :: binary) :: <<_::256>>
  def sha256(secret), do: :crypto.hash(:sha256, secret)

  @doc "All tokens that are not revoked, by name; for a day those that have expired as well."
  @spec list :: [Token.t()]
  def list, do: __MODULE__ |> GenServer.call(:list, :infinity) |> Enum.reject(& &1.revoked) |> Enum.sort_by(& &1.name)

  @doc "Those that are not revoked, as the edge has them."
  @spec rows :: [Native.token()]
  def rows, do: __MODULE__ |> GenServer.call(:list, :infinity) |> rows()

  defp rows(tokens),
    do: for(%{revoked: false} = t <- tokens, do: {t.name, t.hash, t.scopes, t.functions, t.expires_at})

  @doc "From now on an edge has what there is; the calling process stands for it."
  @spec serve(Native.server()) :: :ok
  def serve(server), do: GenServer.call(__MODULE__, {:serve, server}, :infinity)

  @doc false
  def scopes?(scopes), do: is_list(scopes) and scopes != [] and scopes -- Token.scopes() == []

  @impl true
  def init(config) do
    folder = Store.folder(config.data)

    tokens =
      for token <- Tidepool.Tokens.File.read(folder), not Token.over?(token, now()), into: %{}, do: {token.name, token}

    if config.cluster, do: Process.send_after(self(), :look, @look_ms)
    Access.new()
    {:ok, grant(%{folder: folder, tokens: tokens, servers: %{}, told: [], looks: 0})}
  end

  @impl true
  def handle_call({:make, options, origin}, _from, state) do
    known = state.tokens[options.name]

    with :ok <- closed(),
         :ok <- free(known, options.name),
         :ok <- room(state, options.name),
         {:ok, expires_at} <- expiry(options, maker(origin)),
         made = %Token{
           name: options.name,
           hash: options.hash,
           scopes: options.scopes,
           functions: options.functions,
           grants: options.grants,
           expires_at: expires_at,
           known_until: expires_at,
           made_at: now(),
           made_by: Audit.token(origin),
           at: at(known)
         },
         token = Token.named_after(made, known),
         {:ok, state} <- keep(state, [token]) do
      {:reply, {:ok, token}, tell(state, [token], [])}
    else
      {:error, error} -> {:reply, {:error, error}, state}
    end
  end

  # The token itself first, so that it makes no more.
  def handle_call({:revoke, name, children?}, _from, state) do
    case state.tokens[name] do
      %Token{revoked: false} = token ->
        children = made_by(state, [name], [])
        {also, left} = if children?, do: {children, []}, else: {[], children}
        revoked = for one <- [token | also], do: %{one | revoked: true, at: at(one)}
        {outcome, state} = revoke_now(state, revoked)
        {:reply, with(:ok <- outcome, do: {:ok, names(revoked), names(left)}), state}

      _none ->
        {:reply, {:error, Error.new(:unknown_token, "there is no token called #{Options.show(name)}")}, state}
    end
  end

  def handle_call(:list, _from, state), do: {:reply, Map.values(state.tokens), state}

  def handle_call({:serve, server}, {pid, _tag}, state) do
    {:reply, :ok, grant(put_in(state.servers[Process.monitor(pid)], server))}
  end

  @impl true
  def handle_info({:tidepool_tokens, @version, node, {:digest, digest}}, state) when is_atom(node) do
    if digest == digest(state),
      do: {:noreply, state},
      else: {:noreply, send_to(state, node, {:all, Map.values(state.tokens)})}
  end

  # Who has told all lacks what it did not tell.
  def handle_info({:tidepool_tokens, @version, node, {kind, tokens}}, state)
      when is_atom(node) and kind in [:all, :some] and is_list(tokens) do
    tokens = tokens |> Enum.map(&Token.upgrade/1) |> Enum.filter(&(Token.valid?(&1) and not Token.over?(&1, now())))
    theirs = Map.new(tokens, &{&1.name, &1})
    ours = for {name, token} <- state.tokens, kind == :all, Token.later?(token, theirs[name]), do: token
    state = if ours == [], do: state, else: send_to(state, node, {:some, ours})
    {:noreply, take_in(state, Enum.filter(tokens, &Token.later?(&1, state.tokens[&1.name])), node)}
  end

  def handle_info(:look, state) do
    Process.send_after(self(), :look, @look_ms)
    looks = rem(state.looks + 1, @digest_looks)
    links = Links.linked()
    told = if looks == 0, do: [], else: Enum.filter(state.told, &(&1 in links))
    state = %{state | looks: looks, told: told ++ (links -- told)}
    state = Enum.reduce(links -- told, state, &send_to(&2, &1, {:digest, digest(&2)}))
    {:noreply, if(looks == 0, do: forget(state), else: state)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state),
    do: {:noreply, %{state | servers: Map.delete(state.servers, monitor)}}

  def handle_info(_message, state), do: {:noreply, state}

  # Whoever fills the disk is not to keep a token by that.
  defp revoke_now(state, [%{name: name} | _also] = revoked) do
    case keep(state, revoked) do
      {:ok, state} ->
        {:ok, tell(state, revoked, [])}

      {:error, error} ->
        message =
          "#{name} is revoked, but that could not be written down (#{error.message}): revoke it again when there is " <>
            "room, or it is good again when this node starts anew and no other has told it"

        {{:error, %{error | message: message}}, state |> put(revoked) |> tell(revoked, [])}
    end
  end

  # What the tokens of these names have made, and what that has made, and is not revoked.
  defp made_by(_state, [], found), do: found

  defp made_by(state, names, found) do
    new = for {_name, %{revoked: false} = token} <- state.tokens, token.made_by in names, token not in found, do: token
    made_by(state, names(new), found ++ new)
  end

  defp names(tokens), do: Enum.map(tokens, & &1.name)

  # What the cluster has decided holds here, too, whether this node's disk takes it or not.
  defp take_in(state, [], _from), do: state

  defp take_in(state, tokens, from) do
    state =
      case keep(state, tokens) do
        {:ok, state} ->
          state

        {:error, error} ->
          Logger.error("tokens that other nodes have made or revoked could not be written down: #{error.message}")
          put(state, tokens)
      end

    tell(state, tokens, [from])
  end

  defp keep(state, tokens) do
    kept = Map.merge(state.tokens, Map.new(tokens, &{&1.name, &1}))
    with :ok <- Tidepool.Tokens.File.write(state.folder, Map.values(kept)), do: {:ok, put(state, tokens)}
  end

  defp put(state, tokens) do
    grant(%{state | tokens: Map.merge(state.tokens, Map.new(tokens, &{&1.name, &1}))})
  end

  defp grant(state) do
    Access.publish(for {_name, %{revoked: false} = token} <- state.tokens, do: token)
    rows = state.tokens |> Map.values() |> rows()
    for {_monitor, server} <- state.servers, do: :ok = Native.http_grant(server, rows)
    state
  end

  # They are gone from the disk with the next change.
  defp forget(state) do
    now = now()
    %{state | tokens: Map.reject(state.tokens, fn {_name, token} -> Token.over?(token, now) end)}
  end

  defp tell(state, tokens, but),
    do: Enum.reduce(Links.linked() -- but, state, &send_to(&2, &1, {:some, tokens}))

  # What is not sent, since another one waits for a link that is busy, has its node get a digest soon.
  defp send_to(state, node, message) do
    case Post.deliver({__MODULE__, node}, {:tidepool_tokens, @version, node(), message}) do
      :ok -> state
      _not_sent -> %{state | told: List.delete(state.told, node)}
    end
  end

  defp digest(state) do
    parts = for {name, token} <- Enum.sort(state.tokens), do: [name, 0, "#{token.at} #{token.revoked} ", token.hash]
    :erlang.md5(parts)
  end

  defp closed do
    message =
      "this node has no token, so that anybody may do everything: set TIDEPOOL_TOKEN first, which makes the others"

    if Config.get(:token) == nil, do: {:error, Error.new(:no_token, message)}, else: :ok
  end

  defp free(nil, _name), do: :ok
  defp free(%{revoked: true}, _name), do: :ok

  defp free(known, name) do
    if Token.live?(known, now()),
      do: {:error, Error.new(:token_exists, "there is a token called #{name}: revoke it first, or take another name")},
      else: :ok
  end

  # Revoked ones take no places of others, and their names can be taken again: so whoever makes tokens and revokes them keeps
  # nobody from making one.
  defp room(state, name) do
    others = Map.delete(state.tokens, name)
    now = now()

    cond do
      Enum.count(others, fn {_name, token} -> Token.live?(token, now) end) >= @most ->
        full("there are #{@most} tokens: revoke one first")

      map_size(others) >= @most_names ->
        full("#{@most_names} names are known, most of tokens that are revoked: give one of those names again")

      true ->
        :ok
    end
  end

  defp full(message), do: {:error, Error.new(:too_many_tokens, message)}

  # When the token that makes another one expires; the node's own never does.
  defp maker(origin) do
    case Access.of(origin) do
      {:ok, nil} -> :infinity
      {:ok, token} -> token.expires_at
      # Revoked between the edge and here.
      {:error, _gone} -> 0
    end
  end

  defp expiry(%{expires_in: nil}, until) do
    # An atom is greater than any number.
    case min(now() + @year_s, until) do
      expires_at when expires_at > 0 -> {:ok, expires_at}
      _revoked -> outlives()
    end
  end

  defp expiry(%{expires_in: seconds}, until),
    do: if(now() + seconds <= until, do: {:ok, now() + seconds}, else: outlives())

  defp outlives do
    message = "a token can't outlive the one that makes it: say a shorter `expires_in`, or none, or use another token"
    {:error, Error.new(:forbidden, message)}
  end

  # Later than what is known, whatever clock that was made by.
  defp at(nil), do: System.os_time(:millisecond)
  defp at(known), do: max(System.os_time(:millisecond), known.at + 1)

  defp now, do: System.os_time(:second)
end
