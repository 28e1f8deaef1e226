defmodule TidepoolWeb.Resources.OpenApi.Schemas.Functions do
  @moduledoc "Schemas of functions, of their versions, and of the form of a deploy: from the one schema of its options."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias Tidepool.Function.{Fields, Spec}
  alias Tidepool.{Limits, Options}

  @abis [:wapc, :wasi, :lunatic, :extism, :exports, :typed, :http, :command]
  @admitted [:token, :no_token, :elixir, :unknown]

  @doc "All of them, by name."
  @spec all :: [{atom, map}]
  def all do
    # Lists leave it out.
    {config, listed} = Keyword.pop!(function(), :config)

    [
      Limits: object(of_options(Limits.schema())),
      Function: object(listed, imports_omitted: integer(1), config: config),
      Deployed:
        object(function(),
          imports_omitted: integer(1),
          ready: said(list(text()), "Nodes that can serve the version, where some were waited for."),
          pending: said(list(text()), "Nodes that can't yet."),
          actors:
            said(
              object([versions: text()], count: integer(), more_than: integer()),
              "Of a class: what becomes of those that there are."
            )
        ),
      Functions: object(functions: list(ref(:Function)), unavailable: list(ref(:Unavailable))),
      Unavailable: object(name: text(), version: integer(1), sha256: text()),
      Versions: object(name: text(), versions: list(ref(:Version))),
      Version: version(),
      Options: object(form: list(ref(:Option)), query: list(ref(:Option))),
      Option: option()
    ]
  end

  # Options as deployed; of the ABI what was found.
  defp kept do
    for {key, spec} <- Spec.kept(), key not in [:name, :abi], do: {key, kept(key, spec)}
  end

  defp kept(:limits, _spec), do: ref(:Limits)
  defp kept(:operation, spec), do: said(text(), spec[:doc])
  defp kept(_key, spec), do: of_option(spec)

  defp of_version do
    [version: integer(1), sha256: text(), size: integer(), deployed_at: time(), admitted: one_of(@admitted)]
  end

  defp function do
    kept() ++
      of_version() ++
      [
        name: text(),
        abi: one_of(@abis),
        imports: list(text()),
        unanswered: said(nullable(list(text())), "Imports that nobody answers now; null in lists."),
        interface:
          said(
            nullable(object([functions: list(named(any()))], wit: nullable(text()))),
            "Exports that can be called with values; null in lists."
          ),
        start: one_of([:nothing, :snapshot, :initialiser]),
        start_reason: nullable(text()),
        instances_reason:
          said(nullable(text()), "Why instances are fresh where the deploy that this answers asked for warm ones."),
        tier: one_of([:baseline, :optimised]),
        compile_us: integer()
      ]
  end

  # Options of a version that this one can't read are left out.
  defp version do
    abi = Spec.kept()[:abi]
    object(of_version() ++ [newest: boolean(), here: boolean()], [{:abi, of_option(abi)} | kept()])
  end

  # A member of an option has members as the option itself.
  defp option do
    object([name: text(), doc: text(), notation: text(), each: boolean(), default: any(), kind: kind()],
      values: list(any()),
      min: integer(),
      max: %{type: [:integer, :string]},
      members: list(ref(:Option)),
      optional: boolean()
    )
  end

  defp kind, do: one_of([:choice, :integer, :members, :text])

  @doc "The form of a deploy whose options these are, with the module."
  @spec form(Options.schema()) :: map
  def form(schema) do
    kept = Keyword.keys(Spec.kept())
    fields = for {key, spec} <- schema, key in kept, do: {spec[:each] || key, field_of(spec)}

    module =
      said(%{type: :string, contentMediaType: "application/wasm"}, "The module, as a file; or `ref` in its place.")

    object([], [{:wasm, module} | fields])
  end

  # Fields that may come several times are lists.
  defp field_of(spec) do
    text = Fields.notation(spec)
    doc = if spec[:each] || spec[:text], do: "#{spec[:doc]} As text: #{text}.", else: spec[:doc]
    spec |> Keyword.merge(doc: doc, default: if(spec[:each], do: [], else: spec[:default])) |> asked()
  end
end
