defmodule Tidepool.Files do
  @moduledoc """
  What answers for a folder of a program: a module of the host's. A whole application sees the files that its host gives it, and
  nothing else.

      defmodule MyApp.Config do
        @behaviour Tidepool.Files

        @impl true
        def stat([], _context), do: {:ok, %{type: :directory}}
        def stat([name], context), do: with({:ok, text} <- text(name, context), do: {:ok, %{type: :file, size: byte_size(text)}})
        def stat(_path, _context), do: {:error, :enoent}

        @impl true
        def list([], _context), do: {:ok, [{"name", :file}]}

        @impl true
        def read([name], offset, length, context) do
          with {:ok, text} <- text(name, context), do: {:ok, Tidepool.Files.slice(text, offset, length)}
        end

        defp text("name", context), do: {:ok, context.function}
        defp text(_name, _context), do: {:error, :enoent}
      end

  The owner of a node names such modules in the node's setting `files`, and deploys refer to those names:

      config :tidepool, files: [config: MyApp.Config, certificates: "/etc/tidepool/certificates"]

      Tidepool.deploy(wasm, name: "app", files: ["/etc/app=host:config", "/data=memory"])

  A path is a list of names, which are text, never empty, `.`, `..` or with a slash in them; `[]` is the folder itself. Whatever
  a guest writes, it names nothing outside. `Tidepool.Files.Folder` answers by a folder of the machine.

  ## What a callback may rely on, and what not

  Each request runs in a process of its own, which ends with the guest's process, and after the setting `file_timeout` in any
  case: then, or when the callback fails, or answers what it should not, the guest has an error of input and output (`EIO`) and the
  log the reason. Processes of one program ask at the same time. Nothing is kept open between requests: that a guest reads a
  file to its end is one request after the other, and what was renamed meanwhile is not found any more.

  An error is an atom as POSIX has it, `:enoent` for one; those that WASI does not know are `EIO`, too. Without the optional
  callbacks nobody writes: it is `:erofs`.
  """

  @typedoc "Names that lead from the folder to what is meant."
  @type path :: [String.t()]

  @type kind :: :file | :directory

  @typedoc """
  The guest that asks, and as what: what the setting `files` has beside the module, its name there, the function and its version, the program's
  number on this node, and the process.
  """
  @type context :: %{
          argument: term,
          folder: String.t(),
          function: String.t(),
          version: pos_integer,
          program: pos_integer,
          pid: pid
        }

  @typedoc "What is known of a file; `:size` is 0 and `:modified` 1970 where they are not said. Times are seconds since then."
  @type stat :: %{required(:type) => kind, optional(:size) => non_neg_integer, optional(:modified) => integer}

  @type posix :: atom

  @doc "What is at a path. The folder itself has to be a `:directory`."
  @callback stat(path, context) :: {:ok, stat} | {:error, posix}

  @doc "What is in a folder, 65,536 entries at most."
  @callback list(path, context) :: {:ok, [{name :: String.t(), kind}]} | {:error, posix}

  @doc "Bytes of a file from an offset on, at most so many; fewer are its end, and none when it has none there."
  @callback read(path, offset :: non_neg_integer, length :: non_neg_integer, context) :: {:ok, binary} | {:error, posix}

  @doc "Puts bytes into a file, from an offset on, or at its end (`:eof`)."
  @callback write(path, offset :: non_neg_integer | :eof, binary, context) :: :ok | {:error, posix}

  @doc "Cuts a file, or extends it by zeros."
  @callback resize(path, size :: non_neg_integer, context) :: :ok | {:error, posix}

  @doc "Makes an empty file, or a folder; `:eexist` when something is there."
  @callback create(path, kind, context) :: :ok | {:error, posix}

  @doc "Removes a file, or a folder that is empty."
  @callback remove(path, kind, context) :: :ok | {:error, posix}

  @doc "Gives a file or a folder another path, in place of what is there."
  @callback rename(from :: path, to :: path, context) :: :ok | {:error, posix}

  @optional_callbacks write: 4, resize: 3, create: 3, remove: 3, rename: 3

  @doc """
  A part of a binary, for `c:read/4` of what is at hand as a whole.

      iex> Enum.map([{0, 2}, {3, 9}, {5, 1}, {9, 9}], fn {offset, length} -> Tidepool.Files.slice("tides", offset, length) end)
      ["ti", "es", "", ""]
  """
  @spec slice(binary, offset :: non_neg_integer, length :: non_neg_integer) :: binary
  def slice(binary, offset, _length) when offset >= byte_size(binary), do: ""
  def slice(binary, offset, length), do: binary_part(binary, offset, min(length, byte_size(binary) - offset))
end
