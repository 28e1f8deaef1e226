defmodule Tidepool.WasiTest do
  # WASI preview 1 programs: one call is one run.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function, LogWatch}

  setup_all do
    names =
      for language <- ["rust", "c", "go"], into: %{} do
        name = unique_name("#{language}_upper")

        {:ok, %Function{abi: :wasi}} =
          Tidepool.deploy(guest(language, "upper"), name: name, limits: [time: 50_000, cpu_time: 50_000])

        {language, name}
      end

    on_exit(fn -> Enum.each(Map.values(names), &Tidepool.remove/1) end)
    %{names: names}
  end

  for language <- ["rust", "c", "go"] do
    describe "upper in #{language}:" do
      @describetag language: language

      setup %{names: names, language: language}, do: %{name: Map.fetch!(names, language)}

      test "the payload is stdin and stdout the reply", %{name: name} do
        for payload <- ["", "Shout", "two\nlines\n", <<0, 255, ?a>>, String.duplicate("abc", 300_000)] do
          assert Tidepool.call(name, "run", payload) == {:ok, upcase(payload)}
        end

        assert {200, _headers, "SHOUT"} = curl("/call/#{name}", ["--data-binary", "Shout"])
      end

      test "an exit with a code is the caller's error, with the code and the last lines of stderr", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: message, details: %{exit_code: 3}}} =
                 Tidepool.call(name, "run", "fail")

        assert message == "upper: asked to fail\nupper: giving up"
        assert {422, _headers, %{"error" => error}} = curl("/call/#{name}", ["--data-binary", "fail"])
        assert %{"reason" => "guest_error", "message" => ^message, "exit_code" => 3, "function" => ^name} = error
      end

      test "the operation does not matter", %{name: name} do
        for operation <- [nil, "", "anything at all"] do
          assert Tidepool.call(name, operation, "x") == {:ok, "X"}
        end
      end
    end
  end

  test "stderr is logged as warnings, line by line" do
    name = deploy!("rust", "upper")
    LogWatch.watch(name)
    assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "run", "fail")
    assert_receive {:logged, ^name, :warning, first, %{tidepool_stream: :stderr, tidepool_version: 1}}
    assert_receive {:logged, ^name, :warning, second, %{tidepool_stream: :stderr}}
    assert first =~ "asked to fail"
    assert second =~ "giving up"
  end

  test "a program that exits with a code and says nothing is an error with the code" do
    name = deploy!("wat", "wasi_exit_silent")
    assert {:error, %Error{reason: :guest_error, details: %{exit_code: 9}}} = Tidepool.call(name, "run")
  end

  test "a program that traps has no reply, whatever it wrote before" do
    name = deploy!("wat", "wasi_trap")
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Tidepool.call(name, "run")
  end

  test "a program that sleeps replies after its sleep" do
    name = deploy!("rust", "sleepy")
    before = System.monotonic_time(:millisecond)
    assert Tidepool.call(name, "run", "50") == {:ok, "slept 50"}
    # The VM's clock may go by 1 % slower than the one that the guest sleeps by.
    assert System.monotonic_time(:millisecond) - before >= 49
  end

  test "programs sleep side by side, without a scheduler each" do
    # One after another they would take 200 s, far beyond the time that each has.
    name = deploy!("rust", "sleepy", limits: [time: 50_000])
    tasks = for _ <- 1..200, do: Task.async(fn -> Tidepool.call(name, "run", "1000") end)
    assert tasks |> Task.await_many(45_000) |> Enum.uniq() == [{:ok, "slept 1000"}]
  end

  test "a sleep that is longer than the time limit ends with it" do
    name = deploy!("wat", "wasi_sleep", limits: [time: 30])
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "run")
    assert_no_stray_messages()
  end

  test "a program sees no environment, no files and no arguments but the operation, and a real clock" do
    name = deploy!("rust", "surroundings")
    assert {:ok, reply} = Tidepool.call(name, "look", "")
    lines = reply |> String.split("\n", trim: true) |> Map.new(&List.to_tuple(String.split(&1, ":", parts: 2)))

    assert Map.new(lines, fn {name, value} -> {name, String.trim(value)} end) ==
             %{"arguments" => "look", "environment" => "", "files" => "none", "clock" => "real"}
  end

  test "fresh instances share no randomness" do
    name = deploy!("rust", "random")
    replies = for _ <- 1..50, do: Tidepool.call!(name, "run")
    assert length(Enum.uniq(replies)) == 50
  end

  defp upcase(bytes), do: for(<<byte <- bytes>>, into: "", do: <<if(byte in ?a..?z, do: byte - 32, else: byte)>>)
end
