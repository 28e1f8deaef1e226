defmodule Tidepool.Catalog.Entry do
  @moduledoc """
  What the catalog knows of one name: its newest version, or that it was removed.

  A removed name keeps its entry, so that its version numbers go on when it is deployed again.
  """

  @type t :: %__MODULE__{
          name: String.t(),
          version: pos_integer,
          removed: boolean,
          sha256: String.t(),
          size: non_neg_integer,
          operation: String.t(),
          instances: :fresh | {:warm, pos_integer},
          limits: Tidepool.Limits.t(),
          deployed_at: integer
        }

  @enforce_keys [:name, :version, :sha256, :size, :operation, :instances, :limits, :deployed_at]
  defstruct @enforce_keys ++ [removed: false]

  @doc "Do two entries describe the same deploy, apart from version and time?"
  @spec same_deploy?(t | nil, t) :: boolean
  def same_deploy?(nil, _entry), do: false

  def same_deploy?(old, new) do
    not old.removed and %{old | version: new.version, deployed_at: new.deployed_at} == new
  end
end
