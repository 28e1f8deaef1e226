defmodule Tidepool.ErrorTest do
  use ExUnit.Case, async: true

  alias Tidepool.Error

  test "what the file system says is a sentence, whether it says it in a word or in a text" do
    assert %Error{reason: :storage, message: "a/b: no space left on device"} = Error.storage("a/b", :enospc)
    assert %Error{reason: :storage, message: "a/b: it is locked"} = Error.storage("a/b", "it is locked")
  end
end
