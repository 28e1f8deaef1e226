defmodule Tidepool.WaveTest do
  # The text format of wasmtime's command line, by which tests hold calls to what they come to there.
  use ExUnit.Case, async: true

  doctest Tidepool.Wave
end
