defmodule Tidepool.Docs.TidyTest do
  # bin/tidy finds what it is there for, and nothing else: on sources that are made for it.
  use Tidepool.Case, async: true

  @moduletag :slow

  @rooms """
  most_files = 3
  [house."native/tidepool_core/src"]
  low = []
  high = ["low"]
  """

  # Sources that are in order; what a test is about is changed in them.
  @sources %{
    "bin/tidy/rooms.toml" => @rooms,
    "native/tidepool_core/src/lib.rs" => "mod high;\nmod low;\npub use high::top::Top;\n",
    "native/tidepool_core/src/low/mod.rs" => "pub(crate) mod bottom;\npub(crate) use bottom::Bottom;\n",
    "native/tidepool_core/src/low/bottom.rs" => """
    //! Not crate::high::top::Top.
    pub(crate) struct Bottom;
    #[cfg(test)]
    mod tests {
        use crate::high::top::Top;
    }
    """,
    "native/tidepool_core/src/high/mod.rs" => "pub(crate) mod top;\n",
    "native/tidepool_core/src/high/top.rs" => "use crate::low::Bottom;\npub struct Top(Bottom);\n",
    "lib/one.ex" => """
    defmodule One do
      @moduledoc "Not Two."
      alias Deep.{Three, Four}
      @spec two :: Two.t()
      def three, do: Three.four("Two", Four)
    end
    """,
    "lib/two.ex" => "defmodule Two do\n  def one, do: One.three()\nend\n",
    "lib/three.ex" =>
      "defmodule Deep.Three do\n  def four(_, _), do: 4\nend\ndefmodule Deep.Four do\n  def five, do: 5\nend\n"
  }

  defp tidy(changed) do
    folder = tmp_folder!()

    for {path, text} <- Map.merge(@sources, changed) do
      file = Path.join(folder, path)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, text)
    end

    System.cmd("python3", ["bin/tidy", folder], stderr_to_stdout: true)
  end

  test "sources that are in order are let through: neither documents, types, tests nor re-exports count" do
    assert tidy(%{}) == {"", 0}
  end

  test "circles are found in every crate" do
    crates = ~w(tidepool_core tidepool_http tidepool_nif tidepool_load fuzz one_more)

    for crate <- ["guests/tidepool" | Enum.map(crates, &"native/#{&1}")] do
      src = "#{crate}/src"

      {text, 1} =
        tidy(%{
          "#{src}/lib.rs" => "mod day;\nmod night;\n",
          "#{src}/day.rs" => "use crate::night::Night;\n\npub(crate) struct Day(Night);\n",
          "#{src}/night.rs" => "use crate::day::Day;\n\npub(crate) struct Night(Day);\n"
        })

      assert text =~ "a circle of 2 files", crate
    end
  end

  test "a circle is named with its lines, in Rust through a re-export, in Elixir through an alias" do
    path = "native/tidepool_core/src/low/bottom.rs"
    {text, 1} = tidy(%{path => "use crate::Top;\n\npub(crate) struct Bottom(Top);\n"})
    assert text =~ "a circle of 2 files"
    assert text =~ "#{path}:1: crate::Top, of native/tidepool_core/src/high/top.rs"
    assert text =~ "native/tidepool_core/src/high/top.rs:1: crate::low::Bottom, of #{path}"

    {text, 1} =
      tidy(%{"lib/three.ex" => "defmodule Deep.Three do\n  alias One, as: Other\n  def x, do: Other.three()\nend\n"})

    assert text =~ "a circle of 2 files"
    assert text =~ "lib/three.ex:3: Other, of lib/one.ex"
    assert text =~ "lib/one.ex:5: Three, of lib/three.ex"
  end

  test "a circle of many files, of which no two use each other, is one" do
    {text, 1} =
      tidy(%{"lib/three.ex" => "defmodule Deep.Three do\n  def x, do: Two.one()\nend\ndefmodule Deep.Four do\nend\n"})

    assert text =~ "a circle of 3 files"
    for file <- ~w(one two three), do: assert(text =~ ~r"lib/#{file}.ex:\d: ")
  end

  test "a use of a room that is not allowed is named with its line, by whatever path it is made" do
    path = "native/tidepool_core/src/low/bottom.rs"
    line = "#{path}:2: low/ may not use high/"

    for use <- ["use crate::high::top::Top;", "type It = super::super::high::top::Top;", "type It = crate::Top;"] do
      # What it uses must not use it.
      top = %{"native/tidepool_core/src/high/top.rs" => "pub struct Top;\n"}
      {text, 1} = tidy(Map.put(top, path, "pub(crate) struct Bottom;\n#{use}\n"))
      assert text =~ line, use
      assert text =~ "rooms.toml: native/tidepool_core/src: high/ uses nothing of low/"
    end
  end

  test "one of a kind is named in its room and in the list of its kinds alone, by whatever path it is made" do
    src = "native/tidepool_core/src"
    rooms = @rooms <> ~s|[kinds]\n"#{src}/low" = "#{src}/high/list.rs"\n|
    line = "#{src}/high/top.rs:1: only #{src}/low and #{src}/high/list.rs may name one of its folders"

    kinds = %{
      "bin/tidy/rooms.toml" => rooms,
      "#{src}/low/mod.rs" => "pub(crate) mod bottom;\npub(crate) mod one;\npub(crate) use one::Kind;\n",
      "#{src}/low/bottom.rs" => "pub(crate) struct Bottom(super::one::Kind);\n",
      "#{src}/low/one/mod.rs" => "pub(crate) mod data;\npub(crate) use data::Kind;\n",
      "#{src}/low/one/data.rs" => "pub(crate) struct Kind;\n",
      "#{src}/high/mod.rs" => "mod list;\npub(crate) mod top;\n",
      "#{src}/high/list.rs" => "pub(super) struct List(crate::low::Kind);\n",
      "#{src}/high/top.rs" => "pub struct Top(crate::low::bottom::Bottom);\n"
    }

    assert tidy(kinds) == {"", 0}

    for path <- ["crate::low::Kind", "crate::low::one::Kind", "super::super::low::one::data::Kind"] do
      {text, 1} = tidy(Map.put(kinds, "#{src}/high/top.rs", "pub struct Top(#{path});\n"))
      assert text == "#{line}, of which this is: #{path}\n"
    end
  end

  test "a file that reads numbers says why it may, and no other is told of" do
    rooms = @rooms <> ~s|[digits]\nread_by = ["Integer.parse"]\n[digits.files]\n"lib/two.ex" = "it is short"\n|
    parses = "defmodule Two do\n  def one(text), do: Integer.parse(text)\nend\n"
    two = %{"bin/tidy/rooms.toml" => rooms, "lib/two.ex" => parses}
    assert tidy(two) == {"", 0}
    # Neither texts and documents do, nor names of which it is a part.
    one =
      ~s|defmodule One do\n  @doc "Not Integer.parse."\n  def three, do: My.Integer.parse_all("Integer.parse")\nend\n|

    assert tidy(Map.put(two, "lib/one.ex", one)) == {"", 0}
    three = ~s|defmodule Deep.Three do\n  def x, do: "\#{Integer.parse("1")}"\nend\ndefmodule Deep.Four do\nend\n|
    {text, 1} = tidy(Map.put(two, "lib/three.ex", three))
    assert text =~ "lib/three.ex:2: Integer.parse: have Tidepool.Options.read/2 read numbers"
    {text, 1} = tidy(Map.delete(two, "lib/two.ex"))
    assert text == "rooms.toml: digits: lib/two.ex reads no numbers\n"
  end

  test "what all may use needs no line of theirs, has one of its own, and comes before those who use it" do
    rooms = ~s|most_files = 4\n[house."lib"]\n"*" = ["two", "one"]\nthree = []\none = ["three"]\ntwo = []\nfour = []\n|
    four = %{"lib/four.ex" => "defmodule Four do\n  def x, do: One.three()\nend\n"}
    # Of those, too, one uses another only if its line says so.
    assert {"lib/two.ex:2: two/ may not use one/, of which this is: One\n", 1} =
             tidy(Map.put(four, "bin/tidy/rooms.toml", rooms))

    late = ~s|most_files = 4\n[house."lib"]\n"*" = ["one"]\nthree = []\nfour = []\none = ["three"]\ntwo = []\n|
    {text, 1} = tidy(Map.put(four, "bin/tidy/rooms.toml", late))
    assert text == "rooms.toml: lib: one/ has to come before four/, which uses it\n"
  end

  test "a house that has what all may use has a room for each file" do
    rooms = ~s|most_files = 3\n[house."lib"]\n"*" = ["three"]\nthree = []\none = []\n|
    assert {"lib/two.ex: rooms.toml has no room two in lib\n", 1} = tidy(%{"bin/tidy/rooms.toml" => rooms})
  end

  test "of Elixir's houses none uses one that stands above it, but for the file that starts them all" do
    real = %{"bin/tidy/rooms.toml" => File.read!("bin/tidy/rooms.toml")}
    web = Map.put(real, "lib/tidepool_web/reply.ex", "defmodule TidepoolWeb.Reply do\n  def x, do: 1\nend\n")
    use = fn module -> "defmodule #{module} do\n  def x, do: TidepoolWeb.Reply.x()\nend\n" end
    {text, 1} = tidy(Map.put(web, "lib/tidepool/check.ex", use.("Tidepool.Check")))
    assert text =~ "lib/tidepool/check.ex:2: tidepool/ may not use tidepool_web/"
    {text, _status} = tidy(Map.put(web, "lib/tidepool/application.ex", use.("Tidepool.Application")))
    refute text =~ "may not use"
    task = Map.put(real, "lib/mix/tasks/run.ex", "defmodule Mix.Tasks.Run do\n  def x, do: 1\nend\n")
    page = "defmodule TidepoolWeb.Page do\n  def x, do: Mix.Tasks.Run.x()\nend\n"
    {text, 1} = tidy(Map.put(task, "lib/tidepool_web/page.ex", page))
    assert text =~ "lib/tidepool_web/page.ex:2: tidepool_web/ may not use mix/"
  end

  test "what is in texts is no code, what is between them is" do
    path = "native/tidepool_core/src/low/bottom.rs"
    top = %{"native/tidepool_core/src/high/top.rs" => "pub struct Top;\n"}

    for {before, behind} <- [{"http://", ""}, {"/*", "*/"}, {"'", "'"}] do
      text = ~s|pub(crate) struct Bottom;\nconst A: &str = "#{before}"; use crate::Top; const B: &str = "#{behind}";\n|
      {text, 1} = tidy(Map.put(top, path, text))
      assert text =~ "#{path}:2: low/ may not use high/", before
    end

    assert {"", 0} = tidy(%{path => ~s|pub(crate) struct Bottom;\nconst A: &str = "// use crate::Top; /* ";\n|})
  end

  test "a use through an imported module, of its own crate by whatever name, is one, and so is a re-export from elsewhere" do
    path = "native/tidepool_core/src/low/bottom.rs"
    top = %{"native/tidepool_core/src/high/top.rs" => "pub struct Top;\n"}

    for {uses, line} <- [
          {"use crate::high;\ntype It = high::top::Top;", 2},
          {"use crate::high as h;\ntype It = h::top::Top;", 2},
          {"use crate as root;\ntype It = root::high::top::Top;", 3},
          {"use super::super::*;\ntype It = high::top::Top;", 3},
          {"macro_rules! it {\n    () => { $crate::high::top::Top };\n}", 3},
          {"use crate::r#high::top::Top;", 2},
          {"type It = crate::r#high::top::Top;", 2},
          {"pub use crate::high::top::Top;", 2}
        ] do
      {text, 1} = tidy(Map.put(top, path, "pub(crate) struct Bottom;\n#{uses}\n"))
      assert text =~ "#{path}:#{line}: low/ may not use high/", uses
    end
  end

  test "a file that a module names itself is read, and one beside the rooms has to be one" do
    low = "native/tidepool_core/src/low"
    placed = "#[path = \"hidden/away.rs\"]\nmod seen;\npub(crate) mod bottom;\npub(crate) use bottom::Bottom;\n"
    hidden = %{"#{low}/mod.rs" => placed, "#{low}/hidden/away.rs" => "use crate::high::top::Top;\n"}
    assert {text, 1} = tidy(hidden)
    assert text =~ "#{low}/hidden/away.rs:1: low/ may not use high/"

    lib = "mod high;\nmod loose;\nmod low;\npub use high::top::Top;\n"
    loose = %{"native/tidepool_core/src/lib.rs" => lib, "native/tidepool_core/src/loose.rs" => "pub struct Loose;\n"}
    assert {text, 1} = tidy(loose)
    assert text =~ "native/tidepool_core/src/loose.rs: rooms.toml has no room loose in native/tidepool_core/src"
  end

  test "in Elixir a module's own name leads to those within it" do
    for use <- ["alias __MODULE__.Four\n  def x, do: Four.five()", "def x, do: __MODULE__.Four.five()"] do
      {text, 1} =
        tidy(%{
          "lib/three.ex" => "defmodule Deep do\n  #{use}\nend\n",
          "lib/one.ex" => "defmodule One do\n  def three, do: 3\nend\n",
          "lib/four.ex" => "defmodule Deep.Four do\n  def five, do: Deep.x()\nend\n"
        })

      assert text =~ "a circle of 2 files", use
    end
  end

  test "in Elixir an alias of an alias, a full name and code in a text are uses" do
    for use <- [
          "alias Deep, as: D\n  alias D.Three\n  def x, do: Three.four(1, 2)",
          "def x, do: Elixir.Deep.Three.four(1, 2)",
          ~S|def x, do: "a #{Deep.Three.four("b", %{c: 1})} d"|
        ] do
      {text, 1} =
        tidy(%{
          "lib/one.ex" => "defmodule One do\n  #{use}\n  def three, do: 3\nend\n",
          "lib/three.ex" => "defmodule Deep.Three do\n  def four(_, _), do: One.three()\nend\n"
        })

      assert text =~ "a circle of 2 files", use
    end
  end

  test "a folder without a room, and one with too many files, are named" do
    {text, 1} = tidy(%{"native/tidepool_core/src/new/mod.rs" => "", "native/tidepool_core/src/lib.rs" => "mod new;\n"})
    assert text =~ "native/tidepool_core/src/new/mod.rs: rooms.toml has no room new/"
    {text, 1} = tidy(%{"lib/four.ex" => "defmodule More do\nend\n"})
    assert text =~ "lib: 4 files, more than 3"
  end

  test "a folder's door counts for it, its uses and its place" do
    # lib/deep.ex and lib/deep/four.ex are two files of deep/, and lib has three as before.
    deep = %{
      "lib/deep.ex" => "defmodule Deep do\n  def one, do: One.three()\nend\n",
      "lib/deep/six.ex" => "defmodule Deep.Six do\nend\n"
    }

    assert tidy(deep) == {"", 0}

    rooms = @rooms <> ~s|[house."lib"]\nlow = []\ndeep = ["low"]\n|
    low = %{"lib/low/low.ex" => "defmodule Low do\nend\n", "bin/tidy/rooms.toml" => rooms}
    {text, 1} = deep |> Map.merge(low) |> tidy()
    assert text == "rooms.toml: lib: deep/ uses nothing of low/\n"
    uses = %{"lib/deep.ex" => "defmodule Deep do\n  def one, do: Low\nend\n"}
    assert deep |> Map.merge(low) |> Map.merge(uses) |> tidy() == {"", 0}
  end

  test "rooms are layers: none uses one that comes after it in the table" do
    {text, 1} = tidy(%{"bin/tidy/rooms.toml" => String.replace(@rooms, "low = []", ~s(low = ["high"]))})
    assert text =~ "rooms.toml: native/tidepool_core/src: high/ has to come before low/, which uses it"
  end

  test "a word that a room does without is named, with its line; a name of which it is a part is another word" do
    words = @rooms <> ~s([words]\nwithout = ["nobody"]\nrooms = ["lib/deep"]\n)
    asked = "defmodule Deep.Ask do\n  # One.\n  def ask, do: :nobody\nend\n"
    assert tidy(%{"bin/tidy/rooms.toml" => words, "lib/deep/ask.ex" => asked}) == {"", 0}
    said = String.replace(asked, "# One.", "# Nobody asks.")
    assert {complaint, 1} = tidy(%{"bin/tidy/rooms.toml" => words, "lib/deep/ask.ex" => said})
    assert complaint =~ "lib/deep/ask.ex:2: Nobody"
    assert {complaint, 1} = tidy(%{"bin/tidy/rooms.toml" => words, "lib/deep/README.md" => "nobody\n"})
    assert complaint =~ "lib/deep/README.md:1: nobody"
  end
end
