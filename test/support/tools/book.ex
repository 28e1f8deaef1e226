defmodule Tidepool.Book do
  @moduledoc "The book of the documents, as `bin/book` builds it."

  @built {__MODULE__, :built}

  @doc "Path of the book, built from what is there now, unless `bin/test` has done that before all tests."
  def build! do
    # mdBook itself may have to be built, which takes minutes.
    :global.trans({@built, self()}, fn ->
      unless System.get_env("BUILT_FOR_TESTS") || :persistent_term.get(@built, false) do
        {output, status} = System.cmd(Path.expand("bin/book"), [], stderr_to_stdout: true)
        status == 0 || raise output
        :persistent_term.put(@built, true)
      end
    end)

    Path.expand("priv/book")
  end
end
