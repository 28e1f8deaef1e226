defmodule TidepoolWeb.HttpGuestsTest do
  # The guests of guests/http do on another host what their README says: what differs on Tidepool is Tidepool's.
  use Tidepool.Case, async: true

  alias Tidepool.{HttpGuests, Wasmtime}

  # It is minutes until wasmtime is built.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  for {language, module, lacks, _heavy} <- HttpGuests.guests() do
    test "#{language}/#{module} serves on wasmtime what guests/http/README.md says" do
      url = Wasmtime.serve!(guest_path(unquote(language), unquote(module)))
      HttpGuests.check_all(url, unquote(lacks))
      assert {200, _headers, "1"} = curl_url(url <> "/count", [])
    end
  end
end
