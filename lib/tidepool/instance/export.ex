defmodule Tidepool.Instance.Export do
  @moduledoc "What `Tidepool.Instance.exports/1` tells of an export."

  @typedoc """
  An export of a module, with types as in WAT, or a function of a component, with types as in WIT.

  A component's function has more: `:interface`, the one that it is in, or `nil`, and `:function`, its name there; `:names`, those of
  its parameters, in their order; `:uncallable`, why nobody can call it, or `nil`. A `result` that it returns is whole in `:results`:
  `result<u32, string>`. Those of a resource are `[constructor]counter`, `[method]counter.increment`, whose first parameter is
  `self`, and `[static]counter.merge`.
  """
  @type t ::
          %{name: String.t(), kind: :function, params: [String.t()], results: [String.t()]}
          | %{
              name: String.t(),
              kind: :function,
              interface: String.t() | nil,
              function: String.t(),
              names: [String.t()],
              params: [String.t()],
              results: [String.t()],
              uncallable: String.t() | nil
            }
          | %{name: String.t(), kind: :global, type: String.t(), mutable: boolean}
          | %{name: String.t(), kind: :memory | :other}

  @doc "One that the native library tells."
  @spec of(tuple) :: t
  def of({name, :function, params, results}), do: %{name: name, kind: :function, params: params, results: results}

  def of({name, :function, {interface, function}, params, result, uncallable}) do
    {names, types} = Enum.unzip(params)

    %{
      name: name,
      kind: :function,
      interface: interface,
      function: function,
      names: names,
      params: types,
      results: List.wrap(result),
      uncallable: uncallable
    }
  end

  def of({name, :global, type, mutable?}), do: %{name: name, kind: :global, type: type, mutable: mutable?}
  def of({name, kind}), do: %{name: name, kind: kind}
end
