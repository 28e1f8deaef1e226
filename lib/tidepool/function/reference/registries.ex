defmodule Tidepool.Function.Reference.Registries do
  @moduledoc """
  Which registries modules may come from: the node's setting `registries`, and what tokens grant of them.

  A word of the setting is `HOST` or `HOST:PORT`, with `http://` before it where it is spoken to in the clear, or `*` for all that
  have public addresses. A registry that is named may be anywhere. One on `localhost`, or on a loopback address, is spoken to in
  the clear unless `https://` stands before it.

  A grant is `*`, a registry, or a registry with a name after it, whose last part may be `*`: `ghcr.io/team/*`.
  """

  alias Tidepool.Config
  alias Tidepool.Function.Reference

  @type scheme :: :http | :https

  @doc "What the setting has to be."
  @spec expectation :: String.t()
  def expectation, do: "registries such as \"ghcr.io\" or \"http://registry.internal:5000\", or \"*\""

  @doc """
  Can the setting be this?

      iex> alias Tidepool.Function.Reference.Registries
      iex> Enum.map(["*", "", "ghcr.io, http://10.0.0.1:5000", ["https://localhost:5000"]], &Registries.valid?/1)
      [true, true, true, true]
      iex> Enum.map(["ftp://a", "a/b", "a:0", ["*.a"], nil, [:a]], &Registries.valid?/1)
      [false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(value) do
    (is_binary(value) or (is_list(value) and List.improper?(value) == false)) and
      Enum.all?(Config.words(value), &(is_binary(&1) and String.valid?(&1) and (&1 == "*" or word?(&1))))
  end

  defp word?(word), do: word |> String.replace(~r/\Ahttps?:\/\//, "") |> Reference.registry?()

  @doc """
  How a registry is named in the setting: with the scheme that it is spoken to by, by `*`, or not at all.

      iex> alias Tidepool.Function.Reference.Registries
      iex> Enum.map(["ghcr.io", "a:5000", "b"], &Registries.named(&1, "ghcr.io,http://A:5000"))
      [{:named, :https}, {:named, :http}, nil]
      iex> Registries.named("b", ["*"])
      :any
  """
  @spec named(registry :: String.t(), setting :: String.t() | [String.t()]) :: {:named, scheme} | :any | nil
  def named(registry, setting) do
    words = Config.words(setting)

    Enum.find_value(words, if("*" in words, do: :any), fn word ->
      case String.split(String.downcase(word), "://") do
        [^registry] -> {:named, scheme(registry)}
        ["http", ^registry] -> {:named, :http}
        ["https", ^registry] -> {:named, :https}
        _other -> nil
      end
    end)
  end

  @doc "How a registry is spoken to of which nothing is said."
  @spec scheme(registry :: String.t()) :: scheme
  def scheme(registry), do: if(local?(registry), do: :http, else: :https)

  @doc """
  Is this one of the machine itself, by what it is called?

      iex> Enum.map(["localhost:5000", "127.1.2.3", "[::1]:80", "localhost.example", "10.0.0.1"], &Tidepool.Function.Reference.Registries.local?/1)
      [true, true, true, false, false]
  """
  @spec local?(registry :: String.t()) :: boolean
  def local?(registry), do: registry =~ ~r/\A(?:localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\])(?::[0-9]+)?\z/

  @doc """
  Is this called by an address, and not by a name?

      iex> Enum.map(["10.0.0.1:5000", "[fd00::1]", "10.0.0.example", "ghcr.io:443"], &Tidepool.Function.Reference.Registries.address?/1)
      [true, true, false, false]
  """
  @spec address?(registry :: String.t()) :: boolean
  def address?(registry) do
    %URI{host: host} = URI.parse("https://" <> registry)
    match?({:ok, _address}, host |> to_charlist() |> :inet.parse_strict_address())
  end

  @doc """
  Can this be a grant?

      iex> alias Tidepool.Function.Reference.Registries
      iex> Enum.map(["*", "ghcr.io", "a:5000/b", "ghcr.io/team/*", "ghcr.io/*"], &Registries.grant?/1)
      [true, true, true, true, true]
      iex> Enum.map(["", "a/", "a/*/b", "a/b*", "https://a", "a/B"], &Registries.grant?/1)
      [false, false, false, false, false, false]
  """
  @spec grant?(term) :: boolean
  def grant?("*"), do: true

  def grant?(grant) do
    case String.split(grant, "/", parts: 2) do
      [registry] -> Reference.registry?(registry)
      [registry, "*"] -> Reference.registry?(registry)
      [registry, name] -> Reference.registry?(registry) and Reference.repository?(String.replace_suffix(name, "/*", ""))
    end
  end

  @doc """
  Do grants have this reference, and is it by its registry's name?

      iex> alias Tidepool.Function.Reference
      iex> alias Tidepool.Function.Reference.Registries
      iex> {:ok, reference} = Reference.parse("oci://ghcr.io/team/a:1")
      iex> Enum.map(["*", "ghcr.io", "GHCR.io/team/*", "ghcr.io/team/a", "ghcr.io/te/*", "ghcr.io/team", "io"], &Registries.granted([&1], reference))
      [:any, :named, :named, :named, nil, nil, nil]
  """
  @spec granted(grants :: [String.t()], Reference.t()) :: :named | :any | nil
  def granted(grants, reference) do
    if Enum.any?(grants, &covers?(&1, reference)), do: :named, else: if("*" in grants, do: :any)
  end

  defp covers?(grant, %{registry: registry, repository: repository}) do
    [named | name] = String.split(grant, "/", parts: 2)

    String.downcase(named) == registry and
      case name do
        [] -> true
        ["*"] -> true
        [name] -> repository == name or beneath?(repository, name)
      end
  end

  defp beneath?(repository, name) do
    case String.split_at(name, -1) do
      {beginning, "*"} -> String.starts_with?(repository, beginning)
      _whole -> false
    end
  end
end
