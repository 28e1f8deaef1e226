defmodule Tidepool.Fuzz do
  @moduledoc """
  Fuzzing in a plain loop: `run("wire", seeds, fn bytes -> … end)` executes a function with damaged inputs until there were enough or it fails.

  As many as take some seconds by default, for `TIDEPOOL_FUZZ_S` seconds by hand; all follows from the seed of the run (`mix test --seed`), or from `TIDEPOOL_FUZZ_SEED`. Inputs that failed once are in
  `test/fuzz/regressions/NAME/` and executed first. `native/fuzz` does the same for what is written in Rust.
  """

  # How many there are of each, however busy the machine is: two cores execute them in 2 s or less.
  @counts %{"wire" => 100_000, "catalog" => 1_000, "json" => 300_000, "form" => 40_000}
  # The machines that run all tests have other things to do.
  @most_s 60
  # Longest execution. None takes a second on a machine that is not busy.
  @patience_ms 30_000
  @max_bytes 16_384
  @numbers [0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 65_535, 65_536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

  @doc """
  Executes `fun` with damaged `seeds`, which is to return something true.

  Fails with the seed, and the file that has the input. `fix` makes something of an input that gets further, checksums for one.
  """
  @spec run(String.t(), [binary, ...], (binary -> as_boolean(term)), fix: (binary -> binary)) :: :ok
  def run(name, seeds, fun, options \\ []) do
    fix = Keyword.get(options, :fix, & &1)
    seed = number("TIDEPOOL_FUZZ_SEED", ExUnit.configuration()[:seed])
    most = if System.get_env("TIDEPOOL_FUZZ_S"), do: :infinity, else: Map.fetch!(@counts, name)
    seconds = number("TIDEPOOL_FUZZ_S", @most_s)
    :rand.seed(:exsss, seed)
    known = for path <- Path.wildcard("test/fuzz/regressions/#{name}/*"), do: File.read!(path)
    Enum.each(known ++ seeds, &execute(name, &1, fun, seed))

    # What is loaded on first use has been by now.
    atoms = :erlang.system_info(:atom_count)
    began = System.monotonic_time(:millisecond)
    count = loop(name, {List.to_tuple(seeds), fun, fix, seed}, {most, began + 1000 * seconds}, 0)
    made = :erlang.system_info(:atom_count) - atoms
    if is_integer(most) and count < most, do: IO.puts("\nSHORT #{name}: #{count} executions of #{most} in #{seconds} s")
    if made > 100, do: ExUnit.Assertions.flunk("#{name}: #{made} atoms were made, seed #{seed}")
    if System.get_env("TIDEPOOL_FUZZ_S"), do: IO.puts("#{name}: #{count} executions in #{seconds} s, seed #{seed}")
    :ok
  end

  @doc "Values of a generator (`Tidepool.Property`), the same each time."
  def samples(generator, count) do
    for seed <- 1..count do
      {:ok, value} = :proper_gen.pick(generator, rem(seed, 20), {seed, seed, seed})
      value
    end
  end

  defp number(variable, default) do
    case System.get_env(variable) do
      nil -> default
      text -> String.to_integer(text)
    end
  end

  defp loop(name, {seeds, fun, fix, seed} = all, {most, deadline} = until, count) do
    if count < most and System.monotonic_time(:millisecond) < deadline do
      pick = fn -> elem(seeds, :rand.uniform(tuple_size(seeds)) - 1) end
      changed = Enum.reduce(1..changes(1), pick.(), fn _nth, bytes -> change(bytes, pick.()) end)
      bytes = binary_part(changed, 0, min(byte_size(changed), @max_bytes))
      execute(name, if(:rand.uniform(2) == 1, do: fix.(bytes), else: bytes), fun, seed)
      loop(name, all, until, count + 1)
    else
      count
    end
  end

  defp execute(name, bytes, fun, seed) do
    began = System.monotonic_time(:millisecond)

    try do
      fun.(bytes)
    catch
      kind, reason -> failed(name, bytes, seed, Exception.format(kind, reason, __STACKTRACE__))
    else
      nothing when nothing in [nil, false] -> failed(name, bytes, seed, "what has to hold does not")
      _true -> :ok
    end

    took = System.monotonic_time(:millisecond) - began
    if took > @patience_ms, do: failed(name, bytes, seed, "it took #{took} ms")
  end

  defp failed(name, bytes, seed, how) do
    path = Path.join("test/fuzz/findings/#{name}", Integer.to_string(:erlang.phash2(bytes), 16))
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, bytes)
    ExUnit.Assertions.flunk("#{name}, seed #{seed}, input in #{path}: #{how}")
  end

  # Each further one is half as likely.
  defp changes(count), do: if(count < 12 and :rand.uniform(2) == 1, do: changes(count + 1), else: count)

  defp change("", other), do: other

  defp change(bytes, other) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), byte, rest::binary>> = bytes

    case :rand.uniform(10) do
      1 -> <<before::binary, Bitwise.bxor(byte, Bitwise.bsl(1, :rand.uniform(8) - 1)), rest::binary>>
      2 -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
      3 -> before
      4 -> rest
      5 -> before <> behind(rest, :rand.uniform(1 + byte_size(rest)) - 1)
      6 -> before <> piece(bytes) <> <<byte>> <> rest
      7 -> before <> piece(other) <> <<byte>> <> rest
      8 -> before <> behind(other, div(byte_size(other) * :rand.uniform(100), 101))
      9 -> before <> magic() <> rest
      10 -> before <> :rand.bytes(:rand.uniform(8)) <> rest
    end
  end

  defp piece(bytes) do
    at = :rand.uniform(1 + byte_size(bytes)) - 1
    binary_part(bytes, at, min(:rand.uniform(64), byte_size(bytes) - at))
  end

  defp behind(bytes, at), do: binary_part(bytes, at, byte_size(bytes) - at)

  defp magic do
    number = Enum.random(@numbers)

    Enum.random([<<number>>, <<number::16>>, <<number::32>>, <<number::64>>, <<-number::32>>, Integer.to_string(number)])
  end
end
