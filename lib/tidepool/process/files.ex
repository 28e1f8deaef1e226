defmodule Tidepool.Process.Files do
  @moduledoc """
  Answers what a process asks of a folder that the host answers for: by a module of the setting `files`, in a process of its own and
  within the setting `file_timeout`. Whatever becomes of that, the guest is answered.
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Host.{Call, Failure, Isolated}

  # Most that one answer lists: what the library takes.
  @most_listed 65_536
  # Times that it can tell a guest, in seconds since 1970.
  @times 0..18_446_744_073

  @typedoc "What is to be done."
  @type operation ::
          :stat
          | :list
          | {:read, offset :: non_neg_integer, length :: non_neg_integer}
          | {:write, offset :: non_neg_integer | :eof, binary}
          | {:resize, size :: non_neg_integer}
          | {:create | :remove, Tidepool.Files.kind()}
          | {:rename, to :: Tidepool.Files.path()}

  @doc "The answer for the library: bytes, or the name of an error."
  @spec answer(String.t(), Tidepool.Files.path(), operation, Native.process_ref()) :: {:ok, binary} | {:error, binary}
  def answer(folder, path, operation, process) do
    case Config.get(:files) do
      %{^folder => {module, argument}} ->
        # A number of the process's own would be the guest's: it is told apart by its pid.
        %{function: function, version: version, program: program} = Native.process_info(process)

        context = %{
          argument: argument,
          folder: folder,
          function: function,
          version: version,
          program: program,
          pid: self()
        }

        ask(module, path, operation, context)

      # A function of another node's, or of a time when the setting was another.
      _other ->
        {:error, "eacces"}
    end
  end

  defp ask(module, path, operation, context) do
    call = %Call{
      function: context.function,
      version: context.version,
      binding: "files",
      namespace: context.folder,
      operation: operation |> name() |> to_string(),
      payload: "",
      depth: 1
    }

    case Isolated.run(fn -> run(module, path, operation, context, call) end, Config.get(:file_timeout) * 1_000) do
      {:ok, answer} ->
        answer

      {:exit, reason} ->
        Failure.ended(call, :exit, reason, [])
        {:error, "eio"}

      :timeout ->
        Failure.ended(call, :exit, :timeout, [])
        {:error, "eio"}
    end
  end

  defp name(operation) when is_tuple(operation), do: elem(operation, 0)
  defp name(operation), do: operation

  defp run(module, path, operation, context, call) do
    arguments = [path | arguments(operation)] ++ [context]

    if function_exported?(module, name(operation), length(arguments)) do
      module |> apply(name(operation), arguments) |> encode(operation, call)
    else
      {:error, "erofs"}
    end
  catch
    kind, reason ->
      Failure.ended(call, kind, reason, __STACKTRACE__)
      {:error, "eio"}
  end

  defp arguments(operation) when is_atom(operation), do: []
  defp arguments(operation), do: operation |> Tuple.to_list() |> tl()

  defp encode({:error, reason}, _operation, _call) when is_atom(reason) and reason != nil, do: {:error, "#{reason}"}

  defp encode({:ok, %{type: type} = stat}, :stat, call) when type in [:file, :directory] do
    case {Map.get(stat, :size, 0), Map.get(stat, :modified, 0)} do
      {size, modified} when size in 0..0xFFFF_FFFF_FFFF_FFFF and is_integer(modified) ->
        modified = modified |> max(@times.first) |> min(@times.last)
        {:ok, <<byte(type), size::little-64, modified * 1_000_000_000::little-64>>}

      _other ->
        wrong({:ok, stat}, call)
    end
  end

  defp encode({:ok, entries} = answer, :list, call) when is_list(entries) do
    if List.improper?(entries) == false and length(entries) <= @most_listed and Enum.all?(entries, &entry?/1) do
      {:ok, for({name, kind} <- entries, into: "", do: <<byte(kind), byte_size(name)::little-16, name::binary>>)}
    else
      wrong(answer, call)
    end
  end

  defp encode({:ok, bytes}, {:read, _offset, length}, _call) when is_binary(bytes) and byte_size(bytes) <= length,
    do: {:ok, bytes}

  defp encode(:ok, operation, _call) when elem(operation, 0) in [:write, :resize, :create, :remove, :rename],
    do: {:ok, ""}

  defp encode(other, _operation, call), do: wrong(other, call)

  defp entry?({name, kind}) do
    is_binary(name) and kind in [:file, :directory] and byte_size(name) in 1..255 and String.valid?(name) and
      name not in [".", ".."] and not String.contains?(name, ["/", <<0>>])
  end

  defp entry?(_other), do: false

  defp wrong(answer, call) do
    Failure.ended(call, :error, {:bad_return_value, answer}, [])
    {:error, "eio"}
  end

  defp byte(:file), do: 0
  defp byte(:directory), do: 1
end
