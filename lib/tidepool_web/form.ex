defmodule TidepoolWeb.Form do
  @moduledoc """
  The form of a deploy, and its query, as the options of `Tidepool.deploy/2`.
  """

  alias Tidepool.{Deploy, Error, Options}
  alias Tidepool.Function.{Fields, Reference, Spec}

  @typedoc "What the edge makes of a form: the module's file name, the other fields and the query, in their order."
  @type t :: %{
          :file_name => String.t() | nil,
          :fields => Fields.t(),
          :query => Fields.t(),
          optional(:wasm) => binary | nil
        }

  # Of a name that can't be one, so many bytes are in the error.
  @shown 256

  @doc """
  Options from form fields, checked. Fields that are left out leave their option out. Errors call fields what the form calls
  them, and have the function's name when there is one.

      iex> fields = [{"instances", "warm:5"}, {"engine", "dense"}]
      iex> TidepoolWeb.Form.options(%{file_name: "hello.wasm", fields: fields, query: []})
      {:ok, [name: "hello", instances: {:warm, 5}, engine: :dense]}
  """
  @spec options(t) :: {:ok, keyword} | {:error, Error.t()}
  def options(form) do
    name = name(form)

    with {:error, error} <- options(form, name) do
      function = name && Options.cut(name, @shown)
      {:error, %{error | function: function, details: Map.put(error.details, :step, :options)}}
    end
  end

  defp options(form, nil) do
    # No name follows from a reference that is none: what is wrong with that is said, whatever the name.
    if List.keymember?(form.fields, "ref", 0),
      do: options(form, "unnamed"),
      else:
        {:error,
         Error.new(:invalid_option, "give the function a name: upload a file with a name, or add a field `name`")}
  end

  defp options(%{fields: fields, query: query}, name) do
    with {:ok, options} <- Fields.read(fields, Spec.kept()),
         {:ok, waits} <- Fields.read(query, Spec.of_request()),
         options = Keyword.put(options, :name, name) ++ waits,
         {:ok, _checked} <- Spec.check(options, Deploy.schema(), &Fields.subject/1) do
      {:ok, options}
    end
  end

  defp name(%{fields: fields, file_name: file_name}) do
    case {List.keyfind(fields, "name", 0), file_name} do
      # An empty one, too, is a name that can't be: a variable of a script that was not set.
      {{"name", name}, _file_name} -> name
      {_none, file_name} when file_name in [nil, ""] -> referred(List.keyfind(fields, "ref", 0))
      {_none, file_name} -> Path.basename(file_name, ".wasm")
    end
  end

  defp referred({"ref", ref}), do: Reference.name(ref)
  defp referred(nil), do: nil
end
