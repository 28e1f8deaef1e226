defmodule Tidepool.FullDisk do
  @moduledoc "A disk that is full, as far as the catalog's file goes. Runs in peers."

  alias Tidepool.Catalog

  @doc "From now on nothing can be appended."
  def fill, do: open("/dev/full")

  @doc "The file that is at the path can be appended to again."
  def free, do: open(:sys.get_state(Catalog).store.path)

  # Opened by the catalog, which alone may write to it.
  defp open(path) do
    :sys.replace_state(Catalog, fn state ->
      {:ok, file} = :file.open(path, [:read, :append, :raw, :binary])
      put_in(state.store.file, file)
    end)

    :ok
  end
end
