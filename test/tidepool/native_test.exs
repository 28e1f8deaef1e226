defmodule Tidepool.NativeTest do
  # What of the native library is of use without a guest: JSON and file locks.
  use Tidepool.Case, async: true

  import Tidepool.Property

  alias Tidepool.Native

  defp round_trip(term), do: Native.json_decode(Native.json_encode(term))

  describe "JSON" do
    test "property: what JSON can say comes back as it was" do
      assert_holds(json(), fn term -> round_trip(term) == {:ok, term} end, 300)
    end

    test "property: any bytes are decoded or refused, never crashed over" do
      assert_holds(types().binary(), fn bytes ->
        case Native.json_decode(bytes) do
          {:ok, _term} -> true
          {:error, message} -> String.valid?(message)
        end
      end)
    end

    # Strings of any code points, numbers, literals, and lists and objects of them.
    defp json(depth \\ 3) do
      text =
        map(types().list(types().oneof([types().integer(0, 0xD7FF), types().integer(0xE000, 0x10FFFF)])), &to_string/1)

      integer = types().integer(-9_223_372_036_854_775_808, 18_446_744_073_709_551_615)
      leaves = [text, integer, types().integer(), types().float(), types().boolean(), nil]

      if depth == 0 do
        types().oneof(leaves)
      else
        below = json(depth - 1)
        object = map(types().list(types().tuple([text, below])), &Map.new/1)
        types().oneof([types().list(below), object | leaves])
      end
    end

    test "atoms become strings, apart from the three that JSON has" do
      assert round_trip(%{a: :b, list: [true, false, nil]}) == {:ok, %{"a" => "b", "list" => [true, false, nil]}}
    end

    test "text that is no UTF-8 is made readable" do
      assert {:ok, text} = round_trip("a" <> <<255>> <> "b")
      assert text == "a\u{FFFD}b"
    end

    test "what a guest or client sends makes no atoms" do
      key = "never_an_atom_#{System.unique_integer([:positive])}"
      assert {:ok, %{^key => 1}} = Native.json_decode(~s({"#{key}": 1}))
      assert_raise ArgumentError, fn -> String.to_existing_atom(key) end
    end

    test "what JSON can't say is refused where it is encoded" do
      for term <- [{:tuple}, self(), make_ref(), &is_atom/1, %{1 => 2}] do
        assert_raise ArgumentError, fn -> Native.json_encode(term) end
      end
    end

    test "nesting is bounded, both ways" do
      nest = fn depth -> Enum.reduce(1..depth, 0, fn _, inner -> [inner] end) end
      assert {:ok, _nested} = round_trip(nest.(50))
      assert_raise ArgumentError, fn -> Native.json_encode(nest.(10_000)) end
      assert {:error, _message} = Native.json_decode(String.duplicate("[", 100_000))
    end
  end

  describe "a lock" do
    test "is held until its term is gone, whoever else asks" do
      path = Path.join(tmp_folder!(), "lock")
      test = self()

      holder =
        spawn(fn ->
          {:ok, lock} = Native.lock_file(path)
          send(test, :locked)

          receive do
            :let_go -> send(test, {:was, lock})
          end
        end)

      assert_receive :locked
      assert {:error, :locked} = Native.lock_file(path)
      Process.exit(holder, :kill)
      eventually(fn -> match?({:ok, _lock}, Native.lock_file(path)) end)
    end

    test "of a file that can't be made is an error" do
      assert {:error, message} = Native.lock_file(Path.join(tmp_folder!(), "no/such/folder/lock"))
      assert is_binary(message)
    end
  end

  test "flushing a folder that is not there is an error" do
    folder = tmp_folder!()
    assert :ok = Native.sync_folder(folder)
    assert {:error, message} = Native.sync_folder(Path.join(folder, "nowhere"))
    assert is_binary(message)
  end
end
