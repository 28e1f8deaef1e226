defmodule TidepoolWeb.Resources.DeployOptions do
  @moduledoc "What a deploy may say, with this node's defaults, for whoever asks somebody for it: from the one schema."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Deploy, Options}
  alias Tidepool.Function.{Fields, Spec}
  alias TidepoolWeb.Reply

  @impl true
  def routes, do: [{"GET", "/deploy/options", scope: :read, public: true}]

  @impl true
  def serve("GET", ["deploy", "options"], _request) do
    schema = Deploy.schema()
    {query, form} = Enum.split_with(schema, fn {key, _spec} -> Keyword.has_key?(Spec.of_request(), key) end)
    Reply.json(200, %{form: Enum.map(form, &field/1), query: Enum.map(query, &field/1)})
  end

  # `each` says that there may be several of it, `optional` that what has members may be left out as a whole.
  defp field({key, spec}) do
    Map.merge(
      %{
        name: spec[:each] || key,
        doc: sentence(spec[:doc]),
        notation: Fields.notation(spec),
        each: is_binary(spec[:each]),
        default: default({key, spec})
      },
      kind(spec)
    )
  end

  defp kind(spec) do
    case spec[:text] || spec[:type] do
      :boolean -> %{kind: :choice, values: [true, false]}
      {:one_of, values} -> %{kind: :choice, values: values}
      {:integer, min, max} -> %{kind: :integer, min: min, max: max}
      {:keyword, schema} -> %{kind: :members, members: Enum.map(schema, &member/1), optional: Options.switch?(spec)}
      _text -> %{kind: :text}
    end
  end

  defp member({key, spec}) do
    Map.merge(
      %{name: key, doc: sentence(spec[:doc]), notation: Fields.notation(spec), each: false, default: spec[:default]},
      kind(spec)
    )
  end

  defp default({key, spec} = option) do
    with false <- match?({:keyword, _schema}, spec[:type]),
         [{_name, text}] <- Fields.write([option], %{key => spec[:default]}) do
      text
    else
      _none -> nil
    end
  end

  defp sentence(<<first::utf8, rest::binary>>), do: String.upcase(<<first::utf8>>) <> rest
end
