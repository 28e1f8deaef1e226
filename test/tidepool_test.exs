defmodule TidepoolTest do
  use Tidepool.Case, async: true

  test "a deployed function answers calls by name and operation" do
    name = deploy!("rust", "hello_world")
    assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello", ["--data-binary", "Ada"])
  end
end
