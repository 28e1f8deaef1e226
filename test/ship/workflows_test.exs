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

  # Each job of each workflow, with its file and name.
  defp jobs,
    do: for(file <- files(), [workflow] = Built.yaml!(file), {name, job} <- workflow["jobs"], do: {file, name, job})

  # All that has passed before a job begins.
  defp needed(jobs, name), do: Enum.flat_map(List.wrap(jobs[name]["needs"]), &[&1 | needed(jobs, &1)])

  defp steps(job), do: Map.get(job, "steps", [])

  test "a workflow runs scripts of this checkout, with the Rust that the sources ask for" do
    [_line, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, File.read!("native/Cargo.toml"))

    for {file, _name, job} <- jobs() do
      with %{"image" => "rust:" <> image} <- job["container"], do: assert(image == "#{rust}-bookworm")
      with "./" <> workflow <- job["uses"], do: assert(File.exists?(workflow), "#{file} uses #{workflow}")

      for %{"run" => run} <- steps(job), command <- String.split(run, "\n", trim: true) do
        [program | arguments] = String.split(command)
        if program =~ "/", do: assert(File.exists?(program), "#{file} runs #{program}, which is not there")
        if program == "rustup" and hd(arguments) == "default", do: assert(arguments == ["default", rust])
      end
    end

    # What a release is made by, and of what.
    scripts = for {_file, _name, job} <- jobs(), %{"run" => run} <- steps(job), do: run
    for script <- ~w(bin/setup bin/release bin/cli ops/sums ops/image), do: assert(Enum.any?(scripts, &(&1 =~ script)))
    {usage, 0} = System.cmd(Path.expand("bin/cli"), ["--help"])

    for script <- scripts,
        [_all, target] <- Regex.scan(~r/bin\/cli --target (\S+)/, script),
        do: assert(usage =~ target)
  end

  test "what others have made is named by a commit, which nobody can move" do
    used = for {_file, _name, job} <- jobs(), %{"uses" => action} <- steps(job), do: action
    assert used != []
    for action <- used, do: assert(action =~ ~r/^[\w.-]+\/[\w.-]+@[0-9a-f]{40}$/)
  end

  test "a job may read, and writes and knows secrets only where a release is published, after all checks and never in a command" do
    for file <- files(), [workflow] = Built.yaml!(file), do: assert(workflow["permissions"] == %{"contents" => "read"})

    trusted =
      for {file, name, job} <- jobs(), inspect(job) =~ "secrets." or job["permissions"] != nil do
        for %{"run" => run} <- steps(job), do: refute(run =~ "${{")
        {Path.basename(file), name}
      end

    assert trusted == [{"release.yml", "publish"}]
    [release] = Built.yaml!(".github/workflows/release.yml")
    assert release["jobs"]["publish"]["permissions"] == %{"contents" => "write", "packages" => "write"}

    assert "test" in needed(release["jobs"], "publish")
    for {name, job} <- release["jobs"], name not in ["publish", "test"], do: assert("test" in List.wrap(job["needs"]))
  end

  test "a tag that is not of the version is refused, and that of the version is not" do
    check = &System.cmd(Path.expand("bin/release"), ["--check-tag", &1], stderr_to_stdout: true)
    version = Mix.Project.config()[:version]
    assert {"", 0} = check.("v#{version}")
    for tag <- ["v9.#{version}", version, ""], do: assert({_said, 1} = check.(tag))
  end
end
