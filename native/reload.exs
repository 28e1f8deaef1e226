defmodule Tidepool.Reload do
  @moduledoc """
  Loads the native library again in a shell, `iex -S mix`, without the VM being started anew. `.iex.exs` imports it; nothing of
  it ships.

  A library can't be replaced while the node runs: its types, threads and signal handlers are the old one's. So the application
  is stopped, drains, and is started on the new library, which is a file of another name. The old one stays mapped.
  """

  alias Tidepool.Native

  @doc """
  Builds what was edited and starts the application on it. What is deployed is there again, when there is a data folder.

  `:noop` when nothing native has changed. Raises `Mix.Error` when cargo fails, and the node runs on.
  """
  @spec recompile_nif :: :ok | :noop
  def recompile_nif do
    System.put_env("TIDEPOOL_NIF", "dev")
    before = Native.folder()
    began = System.monotonic_time(:millisecond)
    IEx.Helpers.recompile()
    built = System.monotonic_time(:millisecond)

    if Native.folder() == before and running?() do
      :noop
    else
      reload()
      ready = System.monotonic_time(:millisecond)
      IO.puts("Built in #{seconds(built - began)}, loaded and started in #{seconds(ready - built)}")
      :ok
    end
  end

  defp reload do
    if running?(), do: :ok = Application.stop(:tidepool)
    pin()
    :code.purge(Native)
    :code.delete(Native)
    :code.purge(Native)
    {:module, Native} = :code.load_file(Native)
    start()
  end

  # A node that can't start ends its VM when that is there for nothing else. Here somebody sits in front of it.
  defp start do
    standalone = Application.get_env(:tidepool, :standalone, false)
    Application.put_env(:tidepool, :standalone, false)
    {:ok, _started} = Application.ensure_all_started(:tidepool)
    Application.put_env(:tidepool, :standalone, standalone)
  end

  # The VM unmaps a library when its module and its last term are gone. The engine's signal handlers, which those of the next
  # library call, and threads that still end would then run into nothing. So one term is kept, one without a thread.
  defp pin do
    if :erlang.module_loaded(Native) do
      path = Path.join(System.tmp_dir!(), "tidepool-pin-#{System.pid()}-#{System.unique_integer([:positive])}")
      {:ok, term} = Native.lock_file(path)
      File.rm!(path)
      :persistent_term.put({__MODULE__, term}, term)
    end
  end

  defp running?, do: List.keymember?(Application.started_applications(), :tidepool, 0)

  defp seconds(ms), do: "#{Float.round(ms / 1000, 1)} s"
end
