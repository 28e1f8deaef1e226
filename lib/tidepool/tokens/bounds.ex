defmodule Tidepool.Tokens.Bounds do
  @moduledoc """
  What a token may grant the functions that it deploys: a list of texts.

  - `host:GRANT`: of [host functions](docs/host-callbacks.md), as in `host:shop/prices/*`. What the node's setting `host` grants to
    functions that say nothing may be granted by all.
  - `net:GRANT`: of the network, as in `net:https:*.example.com:443`.
  - `files:NAME`, or `files:NAME:rw` for one that may be written: of the folders that the node's setting `files` has. Folders in
    memory need none.
  - `keyvalue:NAME`: of [buckets](docs/keyvalue.md), as in `keyvalue:sessions`, in whatever namespace the function is.
  - `registry:GRANT`: registries that modules are fetched from, as in `registry:ghcr.io` or `registry:ghcr.io/team/*`
    (`Tidepool.Function.Reference.Registries`). One that is named by its address may be on a private network; all others have public addresses, unless the node's setting
    `registries` names them.
  - `route:ROUTE`: routes that functions may have, as in `route:shop.example/...`: it and, if it ends so, all within it.
  - `*`: all that the node grants.
  """

  alias Tidepool.Function.{Buckets, Folders, Grants, HostGrants, Reference, Routes}
  alias Tidepool.Function.Reference.Registries
  alias Tidepool.Native

  @most 32

  @type t :: [String.t()]

  @doc "What a list of them has to be."
  @spec expectation :: String.t()
  def expectation,
    do:
      "a list of at most #{@most} like \"host:shop/prices/*\", \"net:dns\", \"files:config\", \"files:data:rw\", \"keyvalue:sessions\", \"registry:ghcr.io\" or \"route:shop.example/...\", or [\"*\"]"

  @doc """
  Can a token have these?

      iex> alias Tidepool.Tokens.Bounds
      iex> Enum.map([[], ["*"], ["host:shop/*/get", "net:dns", "files:a", "files:b:rw", "registry:a:5000/b/*"]], &Bounds.valid?/1)
      [true, true, true]
      iex> Enum.map([["route:shop.example/...", "keyvalue:a"], ["route:shop.example"], ["keyvalue:a/b"]], &Bounds.valid?/1)
      [true, false, false]
      iex> Enum.map([["host:shop"], ["net:tcp"], ["files:"], ["files:a:ro"], ["registry:"], ["all"], ["net:dns", "net:dns"], "*"], &Bounds.valid?/1)
      [false, false, false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(bounds) do
    is_list(bounds) and List.improper?(bounds) == false and length(bounds) <= @most and Enum.uniq(bounds) == bounds and
      Enum.all?(bounds, &bound?/1)
  end

  defp bound?("*"), do: true

  defp bound?("host:" <> grant),
    do: String.valid?(grant) and grant != "none" and Native.host_grants_fault([grant]) == nil

  defp bound?("net:" <> grant), do: String.valid?(grant) and Native.grants_fault([grant]) == nil
  defp bound?("files:" <> folder), do: Folders.valid?(["/=host:" <> folder])
  defp bound?("keyvalue:" <> bucket), do: Buckets.name?(bucket)
  defp bound?("registry:" <> grant), do: String.valid?(grant) and Registries.grant?(grant)
  defp bound?("route:" <> route), do: Routes.valid?([route])
  defp bound?(_other), do: false

  @doc "Do these have a module of this reference fetched, and is it by its registry's name?"
  @spec registry(t, Reference.t()) :: :named | :any | nil
  def registry(bounds, reference) do
    grants = of(bounds, "registry:")
    Registries.granted(if("*" in bounds, do: ["*" | grants], else: grants), reference)
  end

  @doc "The first thing that a deploy grants and these don't allow; `default` is what of the host functions have that say nothing."
  @spec beyond(
          t,
          %{
            required(:host) => HostGrants.t(),
            required(:net) => Grants.t(),
            required(:files) => Folders.t(),
            required(:keyvalue) => Buckets.t(),
            required(:routes) => Routes.t(),
            optional(atom) => term
          },
          default :: HostGrants.t()
        ) :: String.t() | nil
  def beyond(bounds, deploy, default) do
    cond do
      "*" in bounds -> nil
      grant = HostGrants.beyond(deploy.host, default ++ of(bounds, "host:")) -> "host:" <> grant
      grant = Native.grants_beyond(deploy.net, of(bounds, "net:")) -> "net:" <> grant
      folder = Enum.find(folders(deploy.files), &(&1 not in allowed(of(bounds, "files:")))) -> "files:" <> folder
      bucket = Enum.find(deploy.keyvalue, &(&1 not in of(bounds, "keyvalue:"))) -> "keyvalue:" <> bucket
      route = Routes.beyond(deploy.routes, of(bounds, "route:")) -> "route:" <> route
      true -> nil
    end
  end

  defp of(bounds, kind),
    do: for(bound <- bounds, String.starts_with?(bound, kind), do: String.replace_prefix(bound, kind, ""))

  defp folders(files),
    do:
      for(
        {_path, host, writable?} <- Folders.parse_all(files),
        host != nil,
        do: if(writable?, do: host <> ":rw", else: host)
      )

  # Who may write may read.
  defp allowed(folders), do: folders ++ for(folder <- folders, do: String.replace_suffix(folder, ":rw", ""))
end
