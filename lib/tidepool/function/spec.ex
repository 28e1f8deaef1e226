defmodule Tidepool.Function.Spec do
  @max_idle [fast: 16_000, dense: 1_000_000]
  @longest_wait_ms 3_600_000

  @options [
    name: [
      type:
        {:check, &__MODULE__.name?/1,
         "a name of 1 to 128 letters, digits, dots, dashes or underscores, or two with a slash"},
      typespec: quote(do: String.t()),
      doc: "the function's name; `shop/checkout` is the name `checkout` in the namespace `shop`."
    ],
    operation: [
      type: {:check, &__MODULE__.operation?/1, "a string of 1 to 1024 bytes"},
      typespec: quote(do: String.t() | nil),
      kept_as: quote(do: String.t()),
      default: nil,
      doc: "operation of calls that name none; the function's name by default, without its namespace."
    ],
    instances: [
      type:
        {:check, &__MODULE__.dense_instances?/1,
         ":fresh or {:warm, max_idle} with max_idle from 1 to #{@max_idle[:fast]}, or to #{@max_idle[:dense]} " <>
           "with engine: :dense"},
      typespec: quote(do: :fresh | {:warm, pos_integer}),
      text:
        {&__MODULE__.read_instances/1, &__MODULE__.write_instances/1,
         "`fresh` or `warm:N` with N from 1 to #{@max_idle[:fast]}, or to #{@max_idle[:dense]} with the field " <>
           "`engine=dense`"},
      default: :fresh,
      doc:
        "`fresh`: a new instance for each call. `warm`: a pool of at most N idle instances, which keep their memory from " <>
          "call to call."
    ],
    engine: [
      type: {:one_of, [:fast, :dense]},
      default: :fast,
      doc:
        "`dense` for functions with very many live instances: 100,000 and more, where `fast` ends at some " <>
          "thousands. Memory access takes 1.3 to 1.6 times as long there, because of bounds checks. Programs of " <>
          "processes use it unless `fast` is asked for."
    ],
    snapshot: [
      type: :boolean,
      default: true,
      doc:
        "`true`: the node runs the module's start functions once, at the deploy, and each instance begins with the " <>
          "memory that they left. `false`: they run in each instance."
    ],
    limits: [
      type: {:keyword, Tidepool.Limits.schema()},
      typespec: quote(do: Tidepool.Limits.options()),
      kept_as: quote(do: Tidepool.Limits.t()),
      native: &Tidepool.Limits.complete/1,
      default: [],
      doc: "limits by their names, such as `time`; those that are left out are the node's."
    ],
    description: [
      since: 3,
      omissible: true,
      type: {:check, &__MODULE__.description?/1, "a line of at most 200 characters"},
      typespec: quote(do: String.t()),
      default: "",
      doc: "what the function is for, as lists show it."
    ],
    labels: [
      since: 3,
      omissible: true,
      type: {:check, &Tidepool.Function.Labels.valid?/1, Tidepool.Function.Labels.expectation()},
      typespec: quote(do: Tidepool.Function.Labels.t()),
      each: "label",
      text: {&Tidepool.Function.Labels.read/1, &Tidepool.Function.Labels.write/1, Tidepool.Function.Labels.notation()},
      default: %{},
      doc: "short texts by key, such as a team's name, to find the function by."
    ],
    net: [
      since: 5,
      type: {:check, &Tidepool.Function.Grants.valid?/1, Tidepool.Function.Grants.expectation()},
      typespec: quote(do: Tidepool.Function.Grants.t()),
      each: "net",
      text: {&Tidepool.Function.Grants.read/1, &Function.identity/1, Tidepool.Function.Grants.notation()},
      default: [],
      doc: "network that the function's programs and its guests' requests may use; nothing else is open to them."
    ],
    files: [
      since: 6,
      type: {:check, &Tidepool.Function.Folders.valid?/1, Tidepool.Function.Folders.expectation()},
      typespec: quote(do: Tidepool.Function.Folders.t()),
      each: "files",
      text: {&Tidepool.Function.Folders.read/1, &Function.identity/1, Tidepool.Function.Folders.notation()},
      native: &Tidepool.Function.Folders.parse_all/1,
      default: [],
      doc: "the folders that the function's programs find, in memory or answered by the host; there are no others."
    ],
    actor: [
      since: 7,
      former: Tidepool.Function.Actors.former(),
      type: {:keyword, Tidepool.Function.Actors.schema()},
      typespec: quote(do: boolean | Tidepool.Function.Actors.options()),
      kept_as: quote(do: Tidepool.Function.Actors.t() | nil),
      native: &Tidepool.Function.Actors.class?/1,
      default: nil,
      doc: "`true`, or options of its actors, makes the function a class of actors: see `Tidepool.Function.Actors`."
    ],
    host: [
      since: 8,
      type: {:check, &Tidepool.Function.HostGrants.valid?/1, Tidepool.Function.HostGrants.expectation()},
      typespec: quote(do: Tidepool.Function.HostGrants.t()),
      each: "host",
      text: {&Tidepool.Function.HostGrants.read/1, &Function.identity/1, Tidepool.Function.HostGrants.notation()},
      default: ["*"],
      doc: "which host functions the function may ask for."
    ],
    strip: [
      since: 8,
      omissible: true,
      type: :boolean,
      default: false,
      doc:
        "whether the node removes the module's debug data before it stores, runs and sends the module. A signed module is " <>
          "stripped before it is signed."
    ],
    signature: [
      since: 8,
      type: {:check, &Tidepool.Function.Signature.valid?/1, Tidepool.Function.Signature.expectation()},
      typespec: quote(do: String.t()),
      kept_as: quote(do: Tidepool.Function.Signature.t()),
      default: nil,
      doc:
        "signature of the module by one of the node's `deploy_keys`. A node with such keys refuses modules without a signature."
    ],
    keep_payloads: [
      since: 8,
      omissible: true,
      type: :boolean,
      default: false,
      doc: "whether the first 256 bytes of a failed call's payload are kept with the failure."
    ],
    record: [
      since: 10,
      omissible: true,
      type: {:check, &Tidepool.Recording.Policy.valid?/1, Tidepool.Recording.Policy.expectation()},
      typespec: quote(do: Tidepool.Recording.Policy.t()),
      text:
        {&Tidepool.Recording.Policy.read/1, &Tidepool.Recording.Policy.write/1, Tidepool.Recording.Policy.notation()},
      default: :off,
      doc:
        "`off`: no call is recorded. `failures`: calls that fail. A share such as `0.01`: calls that fail, and one of a " <>
          "hundred others. `all`: all calls. Recordings are for replays: each has all that the caller and the host sent " <>
          "to the guest. They stay on the node that made them."
    ],
    redact: [
      since: 10,
      omissible: true,
      type: :boolean,
      default: false,
      doc:
        "whether recordings have lengths and digests in place of what was sent: they say what happened, and can't be replayed."
    ],
    deterministic: [
      since: 10,
      type: :boolean,
      default: false,
      doc:
        "whether NaNs have one form, the canonical one, on all processors: for recordings that are replayed " <>
          "elsewhere. Computing with them takes up to 1.8 times as long, and a large module waits for the " <>
          "optimising compiler."
    ],
    abi: [
      since: 9,
      type: {:one_of, [:wapc, :wasi, :lunatic, :extism, :exports, :typed, :http, :command]},
      kept_as: quote(do: Tidepool.Native.abi() | nil),
      default: nil,
      doc:
        "ABI by which the function is called. A module that does not speak it is refused. The default is the " <>
          "first that the module speaks: of `lunatic`, `wapc`, `extism`, `wasi` and `exports`, or of a component's " <>
          "`http`, `command` and `typed`."
    ],
    config: [
      since: 9,
      type: {:check, &Tidepool.Function.Configured.valid?/1, Tidepool.Function.Configured.expectation()},
      typespec: quote(do: Tidepool.Function.Configured.t()),
      each: "config",
      text:
        {&Tidepool.Function.Configured.read/1, &Tidepool.Function.Configured.write/1,
         Tidepool.Function.Configured.notation()},
      default: %{},
      doc:
        "texts that an Extism plug-in, or a component by `wasi:config`, asks for by name. They are no secrets: " <>
          "all who see the function see them."
    ],
    keyvalue: [
      since: 9,
      type: {:check, &Tidepool.Function.Buckets.valid?/1, Tidepool.Function.Buckets.expectation()},
      typespec: quote(do: Tidepool.Function.Buckets.t()),
      each: "keyvalue",
      text: {&Tidepool.Function.Buckets.read/1, &Function.identity/1, Tidepool.Function.Buckets.notation()},
      default: [],
      doc:
        "the buckets of keys and values that a component may open by `wasi:keyvalue`, of the function's namespace; there are no others."
    ],
    routes: [
      since: 9,
      type: {:check, &Tidepool.Function.Routes.valid?/1, Tidepool.Function.Routes.expectation()},
      typespec: quote(do: Tidepool.Function.Routes.t()),
      each: "route",
      text: {&Tidepool.Function.Routes.read/1, &Function.identity/1, Tidepool.Function.Routes.notation()},
      default: [],
      doc: "routes of an HTTP handler on the port of the setting `sites_port`; a route belongs to one function alone."
    ],
    tools: [
      since: 9,
      omissible: true,
      type: {:check, &Tidepool.Function.Tools.valid?/1, Tidepool.Function.Tools.expectation()},
      typespec: quote(do: Tidepool.Function.Tools.t()),
      each: "tool",
      text: {&Tidepool.Function.Tools.read/1, &Function.identity/1, Tidepool.Function.Tools.notation()},
      default: [],
      doc:
        "exports of a typed component, of a plain module or of a plug-in that are also tools of the Model Context " <>
          "Protocol: listed and called at `/mcp`."
    ],
    ref: [
      since: 9,
      omissible: true,
      type: {:check, &Tidepool.Function.Reference.valid?/1, Tidepool.Function.Reference.expectation()},
      lacks: &Tidepool.Function.Reference.lacks/1,
      typespec: quote(do: String.t()),
      kept_as: quote(do: String.t() | nil),
      default: nil,
      doc:
        "reference of the module in a registry, in place of the module itself: the node fetches the module, and " <>
          "keeps the reference with the digest."
    ],
    verify: [
      of: :request,
      type: {:keyword, Tidepool.Recording.Policy.verify()},
      typespec: quote(do: Tidepool.Recording.Policy.verify()),
      default: nil,
      doc:
        "before the deploy, the node replays its newest recorded calls of this name with the new module: `last` of them " <>
          "(1000). If more than `allow` of them (0) end differently, the node refuses the deploy: the reason is `differs`."
    ],
    wait: [
      of: :request,
      type: {:one_of, [:local, :majority, :all]},
      default: :local,
      doc:
        "which nodes the deploy waits for, until they can serve the version: this one (`local`), more than half of all " <>
          "that can be reached (`majority`), or all that can be reached (`all`). If `wait_timeout` ends first, the reason " <>
          "is `not_spread`, and the version stays deployed."
    ],
    wait_timeout: [
      of: :request,
      type: {:integer, 0, @longest_wait_ms},
      default: 30_000,
      doc: "how long the deploy waits for other nodes, in ms."
    ]
  ]

  @moduledoc """
  What a deploy can say of a function: each option once, with its type, default, bounds and documentation.

  From here follow the options of `Tidepool.deploy/2` and their types, the form of `POST /deploy` and its query, the fields
  of `Tidepool.Function` and of what the catalog keeps on disk (`Tidepool.Catalog.Entry`), the JSON of `GET /functions`,
  what nodes tell each other (`Tidepool.Cluster.Wire`), what the native library gets, and the tables in docs/http.md.

  ## An option more

  is an element of the list in this file, the place that uses it, and a test. Beside what `Tidepool.Options` says of a
  schema, an option has

  - `:since`, the version of the cluster's protocol that brought it: for a new one the next. Nodes of versions before ignore
    functions that have another value than the default, which is what those have that such nodes tell of. An option within another,
    and a limit, has one of its own when it came later.
  - `omissible: true`, when calls don't depend on it: nodes of versions before are told of the function without it.
  - `of: :request`, when it says how to deploy and is not kept: a parameter of the query then, not a field of the form.
  - `:typespec`, when the type does not tell it; `:kept_as`, when what is kept is another.
  - `:each`, when its value is a map or a list, of which each field of this name says an element.
  - `:former`, members that it had in releases before: `Tidepool.Function.Fields.read/2` reads them, so who has read what such a
    release wrote, or a node of one sent, drops them.
  - `:native`, when the native library gets it in another form: what makes that of its value.
  - `:text`, when text is not read and written as the type has it: how to read it, how to write it, and what to call it.
  """

  alias Tidepool.Function.{Actors, HostGrants}
  alias Tidepool.Namespaces.Name
  alias Tidepool.Options

  @kept Keyword.reject(@options, fn {_key, spec} -> spec[:of] == :request end)
  # An entry of the protocol's version 2 has these in places of their own.
  @placed 2
  # From this version on nodes compare all that they know of a function.
  @whole 4
  @named Enum.filter(@kept, fn {_key, spec} -> spec[:since] end)
  @since for {_key, spec} <- @kept,
             one <- [spec | Keyword.values(Tidepool.Options.within(spec))],
             since = one[:since],
             do: since
  # The one that brought the versions before the newest (`Tidepool.Catalog.Previous`), which are no option.
  @history 8
  # The one that brought names with a namespace.
  @namespaces 8
  # The one that told limits by name, as all that came after the second.
  @limits 10
  @levels [@whole, @history, @limits | @since] |> Enum.filter(&(&1 >= @whole)) |> Enum.uniq() |> Enum.sort()
  @latest Enum.max(@levels)
  @native for {key, spec} <- @kept, form = spec[:native], do: {key, form}

  @doc "How many ms other nodes are waited for at most."
  @spec longest_wait_ms :: pos_integer
  def longest_wait_ms, do: @longest_wait_ms

  @doc "The schema of all options, with Tidepool's defaults."
  @spec schema :: Options.schema()
  def schema, do: @options

  @doc "The schema of all options, with the defaults of a node that its settings have."
  @spec schema(:fresh | {:warm, pos_integer}, Tidepool.Limits.t(), :all | :none) :: Options.schema()
  def schema(instances, limits, host) do
    @options
    |> put_in([:instances, :default], instances)
    |> put_in([:host, :default], HostGrants.default(host))
    |> put_in([:limits, :type], {:keyword, Tidepool.Limits.schema(limits)})
  end

  @doc "The options that say what a function is, and are kept."
  @spec kept :: Options.schema()
  def kept, do: @kept

  @doc "The options that say how to deploy, and are not."
  @spec of_request :: Options.schema()
  def of_request, do: @options -- @kept

  @doc "The version of the cluster's protocol that brought the versions before the newest one."
  @spec history :: pos_integer
  def history, do: @history

  @doc "The version of the cluster's protocol that has all options."
  @spec latest :: pos_integer
  def latest, do: @latest

  @doc "The first version of the cluster's protocol that has all of what a function is."
  @spec version(map) :: pos_integer
  def version(function), do: first(function, told(function))

  @doc "The first version of the cluster's protocol whose nodes can call a function: those of versions before ignore it."
  @spec callable_from(map) :: pos_integer
  def callable_from(function),
    do:
      first(
        function,
        for({_key, spec} = option <- told(function), not Keyword.get(spec, :omissible, false), do: option)
      )

  defp first(function, options) do
    named = if Name.of(function.name), do: @namespaces, else: @placed

    Enum.reduce([{:limits, @options[:limits]} | options], named, fn option, version ->
      max(since(function, option), version)
    end)
  end

  @doc "May nodes of a version of the cluster's protocol be told of a function of this name at all?"
  @spec tellable?(name :: String.t(), version :: pos_integer) :: boolean
  def tellable?(name, version), do: version >= @namespaces or Name.of(name) == nil

  @doc "The first version of the cluster's protocol that has the value which a function has of an option."
  @spec since(map, {atom, keyword}) :: pos_integer
  def since(function, {key, spec}) do
    value = Map.fetch!(function, key)

    for {within, one} <- Options.within(spec),
        one[:since],
        value[within] != one[:default],
        reduce: spec[:since] || @placed do
      since -> max(since, one[:since])
    end
  end

  @doc "The options that nodes tell each other by name, if they are not the default."
  @spec told(map) :: Options.schema()
  def told(function), do: Enum.filter(@named, fn {key, spec} -> Map.fetch!(function, key) != spec[:default] end)

  @doc "The options that a version of the cluster's protocol may have by name."
  @spec named(version :: pos_integer) :: Options.schema()
  def named(version), do: Enum.filter(@named, fn {_key, spec} -> spec[:since] <= version end)

  @doc "The options that an entry of a version of the cluster's protocol has by name whatever they are, beside those of `told/1`."
  @spec always(version :: pos_integer) :: Options.schema()
  def always(version), do: if(version >= @limits, do: [limits: @options[:limits]], else: [])

  @doc """
  Options within an option, or limits, without those that came later and have their default: nodes of before know no more.

      iex> spec = [type: {:keyword, a: [default: 1], b: [default: 2, since: 11]}]
      iex> {Tidepool.Function.Spec.first_known(%{a: 1, b: 2}, spec), Tidepool.Function.Spec.first_known(%{a: 1, b: 3}, spec)}
      {%{a: 1}, %{a: 1, b: 3}}
  """
  @spec first_known(map, keyword) :: map
  def first_known(members, spec) do
    within = Options.within(spec)
    Map.reject(members, fn {key, value} -> within[key][:since] != nil and within[key][:default] == value end)
  end

  @doc "What is left of a function that is removed: nothing that nodes of an earlier version could not be told."
  @spec bare(function) :: function when function: map
  def bare(function), do: without(function, @named)

  @doc "What nodes of a version of the cluster's protocol are told of a function."
  @spec bare(function, version :: pos_integer) :: function when function: map
  def bare(function, version),
    do: without(function, for({_key, spec} = option <- @named, spec[:omissible], spec[:since] > version, do: option))

  defp without(function, options),
    do: Map.merge(function, Map.new(options, fn {key, spec} -> {key, spec[:default]} end))

  @doc """
  The versions of the cluster's protocol of which each brought something that nodes compare: two nodes go by the last one that
  both know.
  """
  @spec levels :: [pos_integer, ...]
  def levels, do: @levels

  @doc "The options that an entry of the protocol's first version has."
  @spec placed :: Options.schema()
  def placed, do: @kept -- @named

  @doc "What is kept of a function, or of a deploy's options."
  @spec take(map) :: map
  def take(function), do: Map.take(function, Keyword.keys(@kept))

  @doc "The same as the native library gets it."
  @spec native(map) :: map
  def native(function),
    do: Enum.reduce(@native, take(function), fn {key, form}, taken -> Map.update!(taken, key, form) end)

  @doc "What a function has that is not told: for `defstruct`, and so for entries that were written before there was the option."
  @spec defaults :: keyword
  def defaults, do: for({key, spec} <- @kept, do: {key, spec[:default]})

  @doc "The types of what is kept, for a struct's type."
  @spec types :: keyword(Macro.t())
  def types, do: for({key, spec} <- @kept, do: {key, spec[:kept_as] || Options.typespec(spec)})

  @doc """
  Options as `Tidepool.Options.check/3` has them, by a schema of `schema/1`; one may rule out what another says, too.
  """
  @spec check(keyword, Options.schema(), Options.subject()) :: {:ok, map} | {:error, Tidepool.Error.t()}
  def check(options, schema, subject) do
    with {:ok, options} <- Actors.current(options),
         {:ok, checked} <- Options.check(options, schema, subject) do
      if fits?(checked), do: {:ok, checked}, else: Options.mistyped(:instances, checked.instances, schema, subject)
    end
  end

  @doc "Can the engine hold the idle instances?"
  @spec fits?(%{optional(:instances) => term, optional(:engine) => term, optional(atom) => term}) :: boolean
  def fits?(options), do: instances?(options[:instances] || :fresh, options[:engine] || :fast)

  @doc """
  Can a function have this name? It is used in URLs, file names and metrics. One slash parts a namespace from what follows.

      iex> Enum.map(["hello_world", "a.b-c", "a/b", "", "a/b/c", "a/", "a//b", "a/..", "é"], &Tidepool.Function.Spec.name?/1)
      [true, true, true, false, false, false, false, false, false]
  """
  @spec name?(term) :: boolean
  def name?(name),
    do:
      is_binary(name) and byte_size(name) <= 128 and
        name |> Name.parts() |> Enum.all?(&Name.valid?/1)

  @doc """
  A name without its namespace.

      iex> Enum.map(["shop/checkout", "checkout"], &Tidepool.Function.Spec.local/1)
      ["checkout", "checkout"]
  """
  @spec local(String.t()) :: String.t()
  def local(name), do: name |> Name.parts() |> List.last()

  @doc """
  Can a bare `/call/NAME` mean this operation?

      iex> Enum.map(["greet", "", <<255>>, String.duplicate("a", 1_025)], &Tidepool.Function.Spec.operation?/1)
      [true, false, false, false]
  """
  @spec operation?(term) :: boolean
  def operation?(operation) do
    is_binary(operation) and byte_size(operation) in 1..1_024 and String.valid?(operation)
  end

  @doc false
  def description?(text), do: is_binary(text) and Options.line?(text) and length(String.codepoints(text)) <= 200

  @doc "Can these be the instances of a function on the engine?"
  @spec instances?(term, Tidepool.Engine.kind()) :: boolean
  def instances?(instances, engine \\ :fast)
  def instances?(:fresh, _engine), do: true
  def instances?({:warm, idle}, engine), do: is_integer(idle) and idle in 1..@max_idle[engine]
  def instances?(_other, _engine), do: false

  @doc false
  def dense_instances?(instances), do: instances?(instances, :dense)

  @doc false
  def read_instances("fresh"), do: {:ok, :fresh}

  def read_instances("warm:" <> count) do
    with {:ok, idle} <- Options.read(count, {:integer, 1, @max_idle[:dense]}), do: {:ok, {:warm, idle}}
  end

  def read_instances(_other), do: :error

  @doc false
  def write_instances(:fresh), do: "fresh"
  def write_instances({:warm, idle}), do: "warm:#{idle}"
end
