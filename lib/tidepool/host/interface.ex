defmodule Tidepool.Host.Interface do
  @moduledoc """
  A whole interface of WIT that modules answer for: one for its functions, and one for each of its resources.

  Names of WIT have `-` where those of Elixir have `_`. See `Tidepool.Host.register_interface/3`.

  Guests say themselves of which types the functions are that they import. So what a method gets for its resource is one of this very
  type, or the call fails; and no other argument is made a term of the host's, which a number of the guest's might be taken for.
  """

  alias Tidepool.{Native, Options, Resource}
  alias Tidepool.Host.Call
  alias Tidepool.Resource.Keeper

  @function "Tidepool.Host.register_interface/3"

  # Their callbacks, and `child_spec/1`, are for processes of the application.
  @processes [GenServer, Supervisor, DynamicSupervisor, Application, :gen_server, :gen_statem, :gen_event, :supervisor]

  @expected "a string, the name that a component imports it by, as \"docs:shop/prices\" or \"docs:shop/prices@1.0.0\""

  # A label of WIT, and what follows the name of an interface where it has a version.
  @label "(?:[a-z][a-z0-9]*|[A-Z][A-Z0-9]*)(?:-(?:[a-z0-9]+|[A-Z0-9]+))*"
  @version "@[0-9]+\\.[0-9]+\\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?"
  @name "(?:#{@label}|#{@label}(?::#{@label})+(?:\\/#{@label})+(?:#{@version})?)?"

  @typedoc "The module of a resource, with the names of its static functions where it has some."
  @type resource :: module | {module, statics: [atom]}

  @doc """
  Raises `ArgumentError` where handlers of an interface of this name would never be asked: it is none that a component could import, or
  WASI's. Components import interfaces of packages, those that their world has in line, which have a label alone, and functions of none.
  """
  @spec check_name!(term) :: :ok
  def check_name!("wasi:" <> _rest = interface) do
    raise ArgumentError,
          "#{@function}: the interface #{inspect(interface)} is WASI's, which no module answers for: what components get of it is " <>
            "what their deploy grants, by the options `net`, `files`, `keyvalue` and `config`; answer for an interface of your own"
  end

  def check_name!(interface) do
    (is_binary(interface) and interface =~ ~r/\A#{@name}\z/) ||
      Options.wrong!("#{@function}: the interface", @expected, interface)

    :ok
  end

  @doc "The handler of each operation. Raises `ArgumentError` where a module is none."
  @spec handlers(String.t(), module | nil, %{String.t() => resource}) :: [{String.t(), (Call.t() -> {:ok, term})}]
  def handlers(interface, module, resources) do
    (is_map(resources) and Enum.all?(resources, fn {name, _module} -> is_binary(name) end)) ||
      Options.wrong!("#{@function}: `resources`", "a map from names of resources to modules", resources)

    functions = if module == nil and resources != %{}, do: [], else: functions!(module, "the module")

    own = for name <- functions, do: {wit(name), fn call -> answered(interface, module, name, call.args) end}
    own ++ Enum.flat_map(resources, fn {resource, given} -> methods(interface, resource, given) end)
  end

  defp methods(interface, resource, given) do
    type = "#{interface}##{resource}"
    {module, statics} = with_statics(given)
    functions = functions!(module, "the module of the resource #{inspect(resource)}")

    statics -- functions == [] ||
      Options.wrong!("#{@function}: `statics` of the resource #{inspect(resource)}", "functions of its module", statics)

    ended = if function_exported?(module, :drop, 1), do: &module.drop/1

    Enum.flat_map(functions, fn
      :new ->
        handler = fn call -> constructed({interface, type}, module, call.args, ended) end
        [{"[constructor]#{resource}", handler}, {"[static]#{resource}.new", handler}]

      :drop ->
        []

      name ->
        if name in statics,
          do: [{"[static]#{resource}.#{wit(name)}", fn call -> answered(interface, module, name, call.args) end}],
          else: [
            {"[method]#{resource}.#{wit(name)}", fn call -> method({interface, type}, module, name, call.args) end}
          ]
    end)
  end

  defp with_statics({module, [{:statics, statics}]}) when is_list(statics), do: {module, statics}
  defp with_statics(module), do: {module, []}

  defp method({interface, type}, module, name, [own | args]),
    do: answered(interface, module, name, [Resource.fetch!(own, type) | args], [own | args])

  defp method({_interface, type}, _module, name, []),
    do: raise(ArgumentError, "the method #{name} of #{type} was called on nothing")

  defp constructed({interface, type}, module, args, ended) do
    {:ok, made} = answered(interface, module, :new, args)

    case made do
      %Resource{} -> {:ok, made}
      {:ok, %Resource{}} -> {:ok, made}
      {:ok, term} -> {:ok, {:ok, made(term, ended, type)}}
      {:error, _value} -> {:ok, made}
      term -> {:ok, made(term, ended, type)}
    end
  end

  defp made(term, ended, type) do
    resource = Resource.new(term, ended)
    Keeper.made(resource, {:type, type})
    resource
  end

  # What the guest has given away has nobody else: it ends afterwards, unless it is given back.
  defp answered(interface, module, name, args), do: answered(interface, module, name, args, args)

  defp answered(interface, module, name, args, given) do
    given = identified(given)
    value = apply(module, name, args)
    returned = identified(value)
    # What was given has its type.
    for {id, resource} <- returned, not is_map_key(given, id), do: Keeper.made(resource, {:interface, interface})
    over(Map.drop(given, Map.keys(returned)))
    {:ok, value}
  catch
    kind, reason ->
      given |> identified() |> over()
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # Each term is a handle of its own, also of the same resource.
  defp identified(value),
    do: for(resource <- resources(value, []), into: %{}, do: {Native.resource_id(resource), resource})

  defp over(given), do: for({_id, resource} <- given, do: Native.resource_end(resource))

  defp resources(%Resource{} = resource, found), do: [resource | found]
  defp resources([first | rest], found), do: resources(rest, resources(first, found))
  defp resources(tuple, found) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> resources(found)
  defp resources(map, found) when is_map(map), do: map |> Map.values() |> resources(found)
  defp resources(_other, found), do: found

  defp wit(name), do: name |> Atom.to_string() |> String.replace("_", "-")

  defp functions!(module, what) do
    (is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, :__info__, 1)) ||
      Options.wrong!("#{@function}: #{what}", "a module that is loaded", module)

    public = module.__info__(:functions) -- callbacks(module)
    for {name, _arity} <- public, uniq: true, do: name
  end

  defp callbacks(module) do
    behaviours = for {:behaviour, behaviours} <- module.__info__(:attributes), behaviour <- behaviours, do: behaviour
    within = for behaviour <- behaviours, behaviour in @processes, do: behaviour.behaviour_info(:callbacks)
    [{:child_spec, 1} | Enum.concat(within)]
  end
end
