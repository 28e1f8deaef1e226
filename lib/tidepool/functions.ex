defmodule Tidepool.Functions do
  @moduledoc """
  Deploys an application's functions when it starts, as a child of its supervisor:

      children = [
        MyApp.Store,
        {Tidepool.Functions,
         [
           {"greeter", {:my_app, "priv/functions/greeter.wasm"}},
           {"pricing", {:my_app, "priv/functions/pricing.wasm"}, instances: {:warm, 4}, limits: [time: 500]}
         ]},
        MyApp.Web
      ]

  Children before it may answer the functions' host calls, those after it may call them. It has no process: its start is
  the work.

  What is deployed already, as the same bytes with the same options, is not deployed again, so a restart changes nothing.
  What is no longer in the list stays deployed until `Tidepool.remove/1`.

  The first function that can't be deployed ends the start, and so the application's, with a sentence that names the
  function, the file and the reason. The functions before it are deployed by then.
  """

  alias Tidepool.{Error, Options}

  @typedoc """
  Where a module's bytes are: a file; a file of an application, by its path in the application's folder, which a release
  has elsewhere than `mix` has; or the bytes themselves.
  """
  @type source :: Path.t() | {application :: atom, Path.t()} | (wasm :: binary)

  @typedoc "A name, a source and the options of `Tidepool.deploy/2` but for `:name`."
  @type function_spec ::
          {name :: String.t() | atom, source} | {name :: String.t() | atom, source, Tidepool.deploy_options()}

  @expectation "{name, source} or {name, source, options}, with a file, {application, file} or a module's bytes as source"

  @doc """
  A child that deploys `functions`.

  Raises `ArgumentError` when an element of the list has another shape, or two have the same name.
  """
  @spec child_spec([function_spec]) :: Supervisor.child_spec()
  def child_spec(functions) do
    is_list(functions) || Options.wrong!("Tidepool.Functions: its argument", "a list of functions", functions)
    functions = Enum.map(functions, &parse!/1)
    names = Enum.map(functions, &elem(&1, 0))

    with [name | _more] <- names -- Enum.uniq(names) do
      raise ArgumentError, "Tidepool.Functions: #{inspect(name)} is there twice"
    end

    %{id: __MODULE__, start: {__MODULE__, :start_link, [functions]}}
  end

  @doc false
  @spec start_link([{String.t(), source, keyword}]) :: :ignore | {:error, {Error.t(), Exception.stacktrace()}}
  def start_link(functions) do
    Enum.find_value(functions, :ignore, fn function ->
      case deploy(function) do
        {:ok, _function} -> nil
        # In this shape a supervisor's report has an exception's sentence, and no term.
        {:error, error} -> {:error, {error, [{__MODULE__, :start_link, 1, []}]}}
      end
    end)
  end

  defp deploy({name, source, options}) do
    with {:ok, wasm} <- read(source),
         {:ok, function} <- Tidepool.deploy(wasm, [name: name] ++ options) do
      {:ok, function}
    else
      {:error, reason} when is_atom(reason) -> failure(Error.new(:storage, text(reason), name), name, source)
      {:error, error} -> failure(error, name, source)
    end
  end

  defp failure(error, name, source) do
    {:error, %{error | message: "the function #{name} could not be deployed from #{where(source)}: #{error.message}"}}
  end

  defp text(reason), do: reason |> :file.format_error() |> to_string()

  defp read(<<0, "asm", _rest::binary>> = wasm), do: {:ok, wasm}

  defp read(source) do
    with {:ok, path} <- path(source), do: File.read(path)
  end

  defp path({application, path}) do
    {:ok, Application.app_dir(application, path)}
  rescue
    ArgumentError -> {:error, Error.new(:storage, "there is no application called #{inspect(application)}")}
  end

  defp path(path), do: {:ok, path}

  defp where(<<0, "asm", _rest::binary>>), do: "its bytes"

  defp where(source) do
    case path(source) do
      {:ok, path} -> Path.expand(path)
      {:error, _error} -> elem(source, 1)
    end
  end

  defp parse!({name, source}), do: parse!({name, source, []})

  defp parse!({name, source, options} = function) when is_atom(name) or is_binary(name) do
    unless name not in [nil, true, false] and source?(source) and Keyword.keyword?(options), do: misshapen!(function)

    if Keyword.has_key?(options, :name) do
      raise ArgumentError, "Tidepool.Functions: the name of #{inspect(name)} is its first element, not an option"
    end

    {to_string(name), source, options}
  end

  defp parse!(other), do: misshapen!(other)

  defp source?({application, path}), do: is_atom(application) and is_binary(path)
  defp source?(<<0, "asm", _rest::binary>>), do: true
  # Other bytes, of a packed module say, are no path.
  defp source?(source), do: is_binary(source) and source != "" and String.printable?(source)

  @spec misshapen!(term) :: no_return
  defp misshapen!(other), do: Options.wrong!("Tidepool.Functions: a function", @expectation, other)
end
