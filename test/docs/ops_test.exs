defmodule Tidepool.Docs.OpsTest do
  # What is in ops/ for other tools is about this node, and not about one that there was.
  use Tidepool.Case, async: true

  alias Tidepool.Error.Reason
  alias Tidepool.Peer

  @families ~r/\b(?:tidepool|beam)_[a-z_]+\b/

  test "a container's image has the libraries that the package asks for, the Rust that the sources do, and known settings" do
    image = File.read!("ops/Dockerfile")
    [_all, depends] = Regex.run(~r/^Depends: (.*)$/m, File.read!("ops/deb"))
    [_build, installed] = Regex.scan(~r/--no-install-recommends (.*) \\$/m, image, capture: :all_but_first)
    # Of which every image of Debian is made.
    assert Enum.sort(String.split(hd(installed), " ")) == Enum.sort(String.split(depends, ", ") -- ["libc6"])

    [_line, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, File.read!("native/Cargo.toml"))
    assert image =~ "FROM rust:#{rust}-bookworm AS build\n"

    settings = for [name] <- Regex.scan(~r/\bTIDEPOOL_\w+(?==)/, image), uniq: true, do: name
    assert "TIDEPOOL_ADDRESS" in settings
    assert Enum.reject(settings, &String.contains?(File.read!("config/runtime.exs"), ~s("#{&1}"))) == []
    for [file] <- Regex.scan(~r/^COPY (ops\S+)/m, image, capture: :all_but_first), do: assert(File.exists?(file))
  end

  test "an image is made of a checkout without what git ignores: what was built elsewhere, and data" do
    [ignored, left_out] =
      for file <- [".gitignore", ".dockerignore"] do
        for line <- String.split(File.read!(file), "\n", trim: true), not String.starts_with?(line, "#"), do: line
      end

    # Git means all folders by a name without a slash in front, Docker the topmost one.
    wanted =
      for pattern <- ignored do
        if String.starts_with?(pattern, "/"), do: String.trim(pattern, "/"), else: "**/" <> String.trim(pattern, "/")
      end

    assert Enum.sort([".git" | wanted]) == Enum.sort(left_out)
  end

  test "each metric that alerts and the dashboard ask for is one that a node has" do
    peer = Peer.start!([server: true, cluster: true], name: Peer.name(), cookie: Peer.cookie())
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("rust", "hello_world"), [name: "f"]])
    {:ok, _reply} = Peer.call(peer, Tidepool, :call, ["f", "hello"])
    {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"))

    samples =
      for line <- String.split(text, "\n"), [name] <- [Regex.run(~r/\A[a-z_]+/, line)], do: name, into: MapSet.new()

    alerts =
      for [_all, expression] <- Regex.scan(~r/expr: (.*?)\n +(?:for|labels):/s, File.read!("ops/prometheus.rules.yml")),
          do: expression

    {:ok, dashboard} = Tidepool.Native.json_decode(File.read!("ops/grafana.json"))
    panels = for %{"targets" => targets} <- dashboard["panels"], %{"expr" => expression} <- targets, do: expression
    variables = for %{"query" => %{"query" => query}} <- dashboard["templating"]["list"], do: query

    for {kind, expressions} <- [alerts: alerts, panels: panels, variables: variables] do
      asked = expressions |> Enum.flat_map(&Regex.scan(@families, &1)) |> List.flatten() |> Enum.uniq()
      assert asked != [], "nothing was found in #{kind}"
      assert Enum.reject(asked, &(&1 in samples)) == [], "no node has these, which #{kind} ask for"
    end
  end

  test "the alert of deploys asks for the reasons that are counted from the start, and that of calls for outcomes" do
    rules = File.read!("ops/prometheus.rules.yml")

    asked = fn metric ->
      for [names] <- Regex.scan(~r/#{metric}\{reason=~?"([\w|]+)"\}/, rules, capture: :all_but_first),
          name <- String.split(names, "|"),
          do: name
    end

    watched =
      for subject <- Reason.subjects(),
          reason <- Reason.all(subject),
          Reason.is?(reason, :watched),
          uniq: true,
          do: reason

    assert Enum.sort(asked.("tidepool_deploys_total")) == watched |> Enum.map(&to_string/1) |> Enum.sort()
    {outcomes, _bounds, _functions} = Tidepool.Native.figures(Tidepool.Engine.runtime())
    assert [_one | _more] = asked.("tidepool_calls_total")
    assert asked.("tidepool_calls_total") -- outcomes == []
  end
end
