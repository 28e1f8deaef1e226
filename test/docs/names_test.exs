defmodule Tidepool.Docs.NamesTest do
  # An application that embeds Tidepool shares one space of names with it.
  use Tidepool.Case, async: true

  alias Tidepool.Peer

  @ours ~r/\A(Elixir\.)?(Mix\.Tasks\.)?Tidepool(Web)?(\.|\z)/
  @task ~r/\AElixir\.Mix\.Tasks\.(?!Tidepool\.)/

  test "every module of the library is called Tidepool, and no task has another library's name" do
    {:ok, modules} = :application.get_key(:tidepool, :modules)
    Enum.each(modules, &Code.ensure_loaded!/1)
    support = for path <- Path.wildcard("test/support/**/*.ex"), do: modules_of(path)
    # What implements a protocol is called after that, and then after the module that it is for.
    named =
      for module <- modules, do: if(function_exported?(module, :__impl__, 1), do: module.__impl__(:for), else: module)

    names = Enum.map(named, &to_string/1) -- List.flatten(support)
    assert length(names) > 50
    assert Enum.reject(names, &(&1 =~ @ours)) == []
    assert Enum.filter(names, &(&1 =~ @task)) == []
  end

  defp modules_of(path),
    do: for([_line, name] <- Regex.scan(~r/^ *defmodule (\S+) do/m, File.read!(path)), do: "Elixir." <> name)

  test "processes, tables and terms that all of the VM sees are called Tidepool, too" do
    peer = Peer.boot!(server: true)
    {:ok, needed} = :application.get_key(:tidepool, :applications)
    for application <- needed, do: Peer.call(peer, Application, :ensure_all_started, [application])
    before = names(peer)
    {:ok, _started} = Peer.start_application(peer)
    :ok = Peer.call(peer, Tidepool.Host, :register, [{"a", "b", "c"}, __MODULE__])
    Peer.deploy!(peer, "rust", "hello_world")
    new = names(peer) -- before
    assert Enum.any?(new, &match?({:process, Tidepool.Supervisor}, &1))
    assert Enum.any?(new, &match?({:table, Tidepool.Catalog}, &1))
    assert Enum.any?(new, &match?({:term, _key}, &1))
    assert Enum.reject(new, fn {_kind, name} -> inspect(owner(name)) =~ @ours end) == []
  end

  defp names(peer) do
    tables = for table <- Peer.call(peer, :ets, :all, []), is_atom(table), do: {:table, table}
    processes = for name <- Peer.call(peer, Process, :registered, []), do: {:process, name}
    terms = for {key, _value} <- Peer.call(peer, :persistent_term, :get, []), do: {:term, key}
    tables ++ processes ++ terms
  end

  # A key that is a tuple begins with the module that it belongs to; Logger's are about a module.
  defp owner({:logger_config, module}), do: module
  defp owner(name) when is_tuple(name), do: elem(name, 0)
  defp owner(name), do: name
end
