Code.require_file("built.exs", __DIR__)

defmodule Tidepool.Ship.WorkflowsTest do
  # What GitHub's runners do: files that can't run here, of scripts that do.
  use Tidepool.Case, async: true

  alias Tidepool.Built

  @moduletag :ship

  defp files, do: Path.wildcard(".github/workflows/*.yml", match_dot: true)

  defp check(file) do
    arguments = ["--builtin-schema", "vendor.github-workflows", file]
    System.cmd(Built.validator("check-jsonschema"), arguments, stderr_to_stdout: true)
  end

  test "each workflow is one that GitHub's schema allows, and the check finds what is wrong" do
    assert files() != []
    for file <- files(), do: assert({_output, 0} = check(file))
    wrong = Path.join(tmp_folder!(), "wrong.yml")
    File.write!(wrong, files() |> hd() |> File.read!() |> String.replace("runs-on:", "run-on:"))
    assert {output, 1} = check(wrong)
    assert output =~ "run"
  end

  test "a workflow runs scripts of this checkout, with the Rust that the sources ask for" do
    [_line, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, File.read!("native/Cargo.toml"))

    for file <- files(), [workflow] = Built.yaml!(file), {_name, job} <- workflow["jobs"] do
      with %{"image" => "rust:" <> image} <- job["container"], do: assert(image == "#{rust}-bookworm")

      for %{"run" => run} <- job["steps"],
          command <- String.split(run, "\n", trim: true),
          [program | _arguments] = String.split(command),
          program =~ "/",
          do: assert(File.exists?(program), "#{file} runs #{program}, which is not there")
    end
  end
end
