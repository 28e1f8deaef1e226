defmodule TidepoolWeb.ExtismTest do
  # Plug-ins over HTTP: the body is the input, and what is configured are fields of the form.
  use Tidepool.Case, async: true

  defp post(path, body) do
    file = Path.join(tmp_folder!(), "body")
    File.write!(file, body)
    curl(path, ["--data-binary", "@#{file}"])
  end

  test "the body of a request is the input, and the output the answer, as bytes" do
    name = deploy!("rust", "vowels")
    bytes = :rand.bytes(100_000)
    assert {200, _headers, ^bytes} = post("/call/#{name}/echo", bytes)

    assert {200, _headers, ~s({"count":3,"total":3,"vowels":"aeiouAEIOU"})} =
             post("/call/#{name}/count_vowels", "low tide")

    assert {422, _headers, %{"error" => %{"reason" => "guest_error", "message" => "no tide today: x"}}} =
             post("/call/#{name}/fails", "x")
  end
end
