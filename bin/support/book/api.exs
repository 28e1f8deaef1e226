defmodule Tidepool.Book.Api do
  @moduledoc "The Elixir API as pages, from the documentation that modules are compiled with."

  # What applications use; the tasks of Mix are found.
  @modules [
    Tidepool,
    Tidepool.Function,
    Tidepool.Error,
    Tidepool.Limits,
    Tidepool.Functions,
    Tidepool.Host,
    Tidepool.Host.Call,
    Tidepool.Host.Builtin,
    Tidepool.Instance,
    Tidepool.Resource,
    Tidepool.Actor,
    Tidepool.Process,
    Tidepool.Files,
    Tidepool.Files.Folder,
    Tidepool.Keyvalue,
    Tidepool.Keyvalue.Memory,
    Tidepool.Keyvalue.Redis,
    Tidepool.Namespaces.Setting,
    Tidepool.Events,
    Tidepool.Telemetry,
    Tidepool.Config,
    Tidepool.Cluster,
    Tidepool.Release,
    Tidepool.Testing
  ]

  @doc "The modules, and their pages as `{name, text}`."
  def pages do
    {:ok, all} = :application.get_key(:tidepool, :modules)
    tasks = for module <- all, String.starts_with?(inspect(module), "Mix.Tasks.Tidepool."), do: module

    for module <- @modules ++ Enum.sort(tasks) do
      Code.ensure_loaded!(module)
      {title(module), page(module)}
    end
  end

  defp title(module) do
    case inspect(module) do
      "Mix.Tasks." <> task -> ("mix " <> Macro.underscore(task)) |> String.replace("/", ".")
      name -> name
    end
  end

  defp page(module) do
    {:docs_v1, _line, :elixir, "text/markdown", %{"en" => about}, _metadata, members} = Code.fetch_docs(module)
    members = for {key, _line, signature, doc, _metadata} <- members, do: {key, signature, doc}
    parts = if title(module) == inspect(module), do: parts(module, members), else: []
    Enum.join(["# " <> title(module), demoted(about, 0) | parts], "\n\n")
  end

  defp parts(module, members) do
    for {heading, kinds} <- [
          {"Functions", [:macro, :function]},
          {"Callbacks", [:callback]},
          {"Types", [:type, :opaque]}
        ],
        shown = for({{kind, _, _}, _, _} = member <- members, kind in kinds, shown?(member), do: member),
        shown != [],
        part <- ["## " <> heading | Enum.map(Enum.sort(shown), &member(module, &1))],
        do: part
  end

  # A type tells something without a sentence beside it, a function that has none is not for others.
  defp shown?({{kind, name, _arity}, _signature, doc}),
    do: doc != :hidden and (is_map(doc) or kind in [:type, :opaque, :callback]) and name != :child_spec

  defp member(module, {{kind, name, arity}, signature, doc}) do
    heading = if signature == [], do: "#{name}/#{arity}", else: Enum.join(signature, " ")
    text = with %{"en" => text} <- doc, do: demoted(text, 2)

    ["### `#{heading}`", spec(module, kind, name, arity), if(is_binary(text), do: text)]
    |> Enum.reject(&is_nil/1)
    |> Enum.join("\n\n")
  end

  defp spec(module, kind, name, arity) do
    lines =
      case kind do
        kind when kind in [:type, :opaque] -> types(module, name, arity)
        :callback -> specs(Code.Typespec.fetch_callbacks(module), name, arity, "@callback ")
        _function -> specs(Code.Typespec.fetch_specs(module), name, arity, "@spec ")
      end

    if lines != [], do: "```elixir\n" <> Enum.join(lines, "\n") <> "\n```"
  end

  defp types(module, name, arity) do
    {:ok, types} = Code.Typespec.fetch_types(module)

    for {kind, {^name, _definition, parameters} = type} <- types, length(parameters) == arity do
      quoted = Code.Typespec.type_to_quoted(type)
      quoted = if kind == :opaque, do: hd(elem(quoted, 2)), else: quoted
      "@#{kind} " <> formatted(quoted)
    end
  end

  defp specs({:ok, all}, name, arity, word) do
    for {{^name, ^arity}, specs} <- all, spec <- specs, do: word <> formatted(Code.Typespec.spec_to_quoted(name, spec))
  end

  defp specs(:error, _name, _arity, _word), do: []

  defp formatted(quoted),
    do: quoted |> Macro.to_string() |> Code.format_string!(line_length: 90) |> IO.iodata_to_binary()

  # Headings of a text stand below the one that it is of.
  defp demoted(text, by), do: Regex.replace(~r/^#+ /m, text, &(String.duplicate("#", by) <> &1))
end
