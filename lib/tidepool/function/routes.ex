defmodule Tidepool.Function.Routes do
  @moduledoc """
  Routes: what a function that handles HTTP is asked for on the port of sites (the setting `sites_port`), beside `/call/NAME`. Each is
  a text: a path, `/hook`, or one of a host, `shop.example/cart`; one that ends in `/...` has all below it, too.

  Of the routes that a request means the longest counts, and those of its host before those of any. A function has a route alone: a
  deploy is refused that names one of another's (`check/4`). Where two nodes gave one to two functions while they were apart, the older
  deploy has it.

  The library finds them (`Tidepool.Native.set_routes/2`).
  """

  alias Tidepool.Error

  @most 32
  @bytes 256
  @host ~r/\A(?!.*\.\.)[a-z0-9]([a-z0-9.-]*[a-z0-9])?\z/i
  # What a path of a URI may have (RFC 3986, 3.3).
  @path ~r"\A(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+\z"

  # Another path by other characters: a proxy in between may make one of the other (RFC 3986, 6.2.2).
  @other ~r"/\.{1,3}(/|\z)|%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"

  @type t :: [String.t()]

  @doc "What a list of routes has to be."
  @spec expectation :: String.t()
  def expectation,
    do: "a list of at most #{@most} routes, such as \"shop.example/cart/...\" or \"/hook\", none of them twice"

  @doc "What the text of one route has to be."
  @spec notation :: String.t()
  def notation, do: "`/PATH` or `HOST/PATH`, with `/...` at its end for all below it; #{@most} at most"

  @doc """
  Can a function have these routes?

      iex> alias Tidepool.Function.Routes
      iex> Enum.map([[], ["/"], ["/..."], ["shop.example/cart/...", "/hook%20s"]], &Routes.valid?/1)
      [true, true, true, true]
      iex> Enum.map([["hook"], ["/a?b"], ["/.../a"], ["a:80/"], ["A.example/", "a.example/"], "/a"], &Routes.valid?/1)
      [false, false, false, false, false, false]
      iex> Enum.map([["/a/../b"], ["/./"], ["/%63art"], ["/a..b"]], &Routes.valid?/1)
      [false, false, false, true]
  """
  @spec valid?(term) :: boolean
  def valid?(routes) do
    is_list(routes) and List.improper?(routes) == false and length(routes) <= @most and Enum.all?(routes, &route?/1) and
      Enum.uniq_by(routes, &canonical/1) == routes
  end

  defp route?(route) when is_binary(route) and byte_size(route) <= @bytes do
    {host, path} = split(route)
    (host == "" or host =~ @host) and path =~ @path and not (above(path) =~ @other)
  end

  defp route?(_route), do: false

  defp split(route) do
    case String.split(route, "/", parts: 2) do
      [host, path] -> {host, "/" <> path}
      [host] -> {host, ""}
    end
  end

  defp above(path), do: String.replace_suffix(path, "/...", "")

  @doc "The route of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(valid?([text]), do: {:ok, [text]}, else: :error)

  @doc """
  A route as it is compared: hosts have no case.

      iex> Tidepool.Function.Routes.canonical("Shop.Example/Cart")
      "shop.example/Cart"
  """
  @spec canonical(String.t()) :: String.t()
  def canonical(route) do
    {host, path} = split(route)
    String.downcase(host, :ascii) <> path
  end

  @doc """
  The first route that is not within one of those that are allowed; `nil` when all are.

      iex> alias Tidepool.Function.Routes
      iex> Routes.beyond(["a.example/b", "a.example/c/...", "A.example/c/d"], ["a.example/b", "a.example/c/..."])
      nil
      iex> Enum.map(["a.example/bc", "b.example/b", "/b", "a.example/..."], &Routes.beyond([&1], ["a.example/b/..."]))
      ["a.example/bc", "b.example/b", "/b", "a.example/..."]
  """
  @spec beyond(t, allowed :: t) :: String.t() | nil
  def beyond(routes, allowed), do: Enum.find(routes, fn route -> not Enum.any?(allowed, &within?(route, &1)) end)

  defp within?(route, allowed) do
    {route, allowed} = {canonical(route), canonical(allowed)}
    above = above(allowed)
    route == allowed or (above != allowed and (route == above or String.starts_with?(route, above <> "/")))
  end

  @typedoc "A function that is deployed: its name, its routes, and the stamp of its deploy, of which an older one is less."
  @type deployed :: %{:name => String.t(), :routes => t, :stamp => term, optional(atom) => term}

  @doc """
  Can a function be deployed with these routes in the place of `old`, beside others? Not with a route that another function has, nor
  with one that it has itself and another names, too: that one's deploy would be the older.
  """
  @spec check(String.t(), t, old :: deployed | nil, others :: [deployed]) :: :ok | {:error, Error.t()}
  def check(name, routes, old, others) do
    routes = MapSet.new(routes, &canonical/1)
    had = if old, do: MapSet.new(old.routes, &canonical/1), else: MapSet.new()
    claims = for other <- others, route <- other.routes, canonical(route) in routes, do: {route, other}

    Enum.find_value(claims, :ok, fn {route, other} ->
      cond do
        canonical(route) not in had -> {:error, taken(name, route, other.name)}
        # Its own claim is the weaker one, before this deploy and after.
        other.stamp < old.stamp -> nil
        true -> {:error, shared(name, route, other.name)}
      end
    end)
  end

  defp taken(name, route, owner) do
    message = "the route #{route} is #{owner}'s: name another one, or take it from that function first"
    error(message, name, %{route: route, owner: owner, other: owner})
  end

  defp shared(name, route, other) do
    message =
      "the route #{route} was given to #{other}, too, while nodes were apart, which would have it after this deploy: " <>
        "take it from that function first"

    error(message, name, %{route: route, owner: name, other: other})
  end

  defp error(message, name, details), do: Error.new(:route_taken, message, name, details)

  @doc """
  An error of `check/4` as it is told to whom may be told of some functions alone: of another one that has the route its name is left out.

      iex> alias Tidepool.Function.Routes
      iex> others = [%{name: "blog/pages", routes: ["/a"], stamp: 1}]
      iex> {:error, error} = Routes.check("shop/pages", ["/a"], nil, others)
      iex> for sees? <- [true, false], do: Routes.told(error, fn "blog/pages" -> sees? end).details
      [%{route: "/a", owner: "blog/pages"}, %{route: "/a", owner: nil}]
      iex> Routes.told(error, fn _name -> false end).message =~ "blog"
      false
  """
  @spec told(Error.t(), sees? :: (name :: String.t() -> boolean)) :: Error.t()
  def told(%Error{reason: :route_taken, details: %{other: other} = details} = error, sees?) do
    details = Map.delete(details, :other)
    if sees?.(other), do: %{error | details: details}, else: unnamed(%{error | details: details}, other)
  end

  def told(error, _sees?), do: error

  defp unnamed(%{details: %{route: route, owner: owner} = details} = error, other) do
    message = "the route #{route} is another function's, which this token is not for: name another one"
    %{error | message: message, details: %{details | owner: if(owner != other, do: owner)}}
  end
end
