Code.require_file("../../native/build.exs", __DIR__)

Code.require_file("built.exs", __DIR__)

defmodule Tidepool.Ship.PublishedTest do
  # What a release is published as: all that bin/release makes, and ops/sums signs. Installing the archive and the package, and running
  # the image, have tests of their own.
  use Tidepool.Case, async: true

  alias Tidepool.{Built, Native, Peer}

  @moduletag :ship
  @moduletag timeout: 900_000

  @version Mix.Project.config()[:version]
  @musl "x86_64-unknown-linux-musl"
  # Rust's library for another target is rustup's to bring.
  @rustup System.find_executable("rustup")
  # ELF's numbers.
  @machines %{"x86_64" => 62, "aarch64" => 183}
  @interpreter 3

  if @rustup do
    setup_all do
      env = [{"TIDEPOOL_DOWNLOADS", "https://example.org/tidepool"}, {"MIX_BUILD_PATH", nil}]
      {folder, env} = Built.keyring_of_module!("published", ["maker"], env)
      out = Path.join(folder, "out")
      # As in a workflow: what builds has the key's public half alone.
      public = Path.join(folder, "public")
      Built.run!("gpg", ["--batch", "--export", "--output", public, "maker"], env: env)
      [builder] = builders = Built.keyring!(Path.join(folder, "builder"))
      Built.run!("gpg", ["--batch", "--import", public], env: builders)
      Built.run!("bin/release", [out, "maker"], env: List.keystore(env, "GNUPGHOME", 0, builder))
      %{folder: folder, out: out, env: env}
    end

    test "bin/release makes each file that a release is published as, ops/sums signs them all, and who signs needs nothing else",
         context do
      Built.run!("ops/sums", [context.out, @version, "maker"], env: context.env)
      sums = "tidepool-#{@version}.SHA256SUMS"

      named = [
        "tidepool-#{@version}-linux-x86_64.cdx.json",
        "tidepool-#{@version}-linux-x86_64.tar.gz",
        "tidepool-#{@version}-image-x86_64.tar.gz",
        "tidepool-#{@version}-#{@musl}",
        "tidepool-#{@version}-#{@musl}.cdx.json",
        "tidepool_#{@version}_amd64.deb",
        "tidepool_native-#{@version}-nif-2.16-x86_64-linux-gnu.tar.gz",
        "checksums.tsv",
        "install.sh"
      ]

      assert Enum.sort(File.ls!(context.out)) == Enum.sort([sums, sums <> ".asc" | named])
      Built.run!("gpg", ["--batch", "--verify", sums <> ".asc", sums], cd: context.out, env: context.env)
      checked = Built.run!("sha256sum", ["--check", "--strict", sums], cd: context.out)

      assert checked |> String.split("\n", trim: true) |> Enum.sort() ==
               named |> Enum.map(&(&1 <> ": OK")) |> Enum.sort()

      # What a checkout without Rust is held to.
      [row] = for line <- File.stream!(Path.join(context.out, "checksums.tsv")), not (line =~ ~r/^#/), do: line
      [library, sha256, digest] = row |> String.trim() |> String.split("\t")
      assert sha256 == sha256(Path.join(context.out, library))
      assert digest == Tidepool.Native.Build.digest()
    end

    test "install.sh is for each machine that there is an archive for, whoever signs", context do
      folder = Path.join(context.folder, "several")
      File.mkdir_p!(folder)
      archive = "tidepool-#{@version}-linux-x86_64.tar.gz"
      File.ln_s!(Path.join(context.out, archive), Path.join(folder, archive))
      # Of an archive of another machine it reads that machine's file alone.
      File.mkdir_p!(Path.join(context.folder, "other/tidepool-#{@version}"))
      File.write!(Path.join(context.folder, "other/tidepool-#{@version}/MACHINE"), "aarch64 2.34 70000\n")
      other = Path.join(folder, "tidepool-#{@version}-linux-aarch64.tar.gz")
      Built.run!("tar", ["-C", Path.join(context.folder, "other"), "-czf", other, "tidepool-#{@version}"])
      Built.run!("ops/sums", [folder, @version, "maker"], env: context.env)

      for {machine, said} <- [
            {"aarch64", ~r/glibc 2.33, and .* wants 2.34 or newer/},
            {"x86_64", ~r/glibc 2.33, and .* wants 2.36 or newer/},
            {"riscv64", ~r/Linux on riscv64, and the archive is for Linux on aarch64 or x86_64/}
          ] do
        places = Path.join(folder, machine)
        File.mkdir_p!(places)
        fakes = [{"uname", "case $1 in -m) echo #{machine} ;; *) echo Linux ;; esac"}, {"getconf", "echo glibc 2.33"}]

        for {name, text} <- fakes do
          File.write!(Path.join(places, name), "#!/bin/sh\n#{text}\n")
          File.chmod!(Path.join(places, name), 0o755)
        end

        env = [{"PATH", "#{places}:#{System.fetch_env!("PATH")}"}]
        script = [Path.join(folder, "install.sh"), "--prefix", Path.join(places, "there")]
        assert {output, 1} = System.cmd("sh", script, env: env, stderr_to_stdout: true)
        assert output =~ said
      end
    end

    test "the tool that is published is one static program: it runs where there is no other file, and talks to a node",
         context do
      tool = Path.join(context.out, "tidepool-#{@version}-#{@musl}")
      assert {@machines["x86_64"], []} == {machine(tool), interpreters(tool)}
      # What the VM is, is not.
      assert [_one] = interpreters(Path.join(:code.root_dir(), "erts-#{:erlang.system_info(:version)}/bin/beam.smp"))

      root = tmp_folder!()
      File.cp!(tool, Path.join(root, "tool"))
      File.cp!(guest_path("rust", "hello_world"), Path.join(root, "hello.wasm"))
      assert {"tidepool #{@version}\n", 0} == alone(root, ["--version"])
      url = Peer.url(Peer.start!(server: true), "")
      assert {_said, 0} = alone(root, ["deploy", "/hello.wasm", "--name", "alone", "--url", url])
      assert {"Hello, Ada!", 0} = alone(root, ["call", "alone", "hello", "--data", "Ada", "--url", url])

      # By a name, which no library of a system is loaded for: it is found as soon as it is known, and else that is said.
      named = String.replace(url, "127.0.0.1", "localhost")
      assert {said, 3} = alone(root, ["list", "--url", named])
      assert said =~ "localhost"
      File.mkdir_p!(Path.join(root, "etc"))
      File.write!(Path.join(root, "etc/hosts"), "127.0.0.1 localhost\n")
      assert {listed, 0} = alone(root, ["list", "--url", named])
      assert listed =~ "alone"
    end

    test "the list of what is in the archive, and in the tool, has each crate that is linked, with its checksum and licence, and no other",
         context do
      library = ~w(-p tidepool_nif -p tidepool_core)
      tool = ~w(-p tidepool_cli --target #{@musl})
      names = for stem <- ["linux-x86_64", @musl], do: "tidepool-#{@version}-#{stem}.cdx.json"

      for {name, parts} <- Enum.zip(names, [[library, tool], [tool]]) do
        bill = bill!(Path.join(context.out, name))
        linked = parts |> Enum.flat_map(&linked!/1) |> MapSet.new()
        assert MapSet.size(linked) > 50

        listed =
          for %{"purl" => "pkg:cargo/" <> _crate = purl} = part <- bill["components"] do
            assert [%{"expression" => _licence}] = part["licenses"]
            assert [%{"alg" => "SHA-256", "content" => sha256}] = part["hashes"]
            assert purl == "pkg:cargo/#{part["name"]}@#{URI.encode_www_form(part["version"])}"
            {part["name"], part["version"], sha256}
          end

        {ours, others} = Enum.split_with(linked, fn {_name, _version, sha256} -> sha256 == nil end)
        assert Enum.sort(listed) == Enum.sort(others)
        for {crate, version, nil} <- ours, do: assert(%{} = part(bill, "pkg:generic/#{crate}@#{version}"))

        # Each part is reached from the whole.
        edges = Map.new(bill["dependencies"], &{&1["ref"], &1["dependsOn"]})
        reached = reach([bill["metadata"]["component"]["bom-ref"]], edges, MapSet.new())
        standalone = ["rust-std"]

        for %{"bom-ref" => ref, "name" => name} <- bill["components"],
            name not in standalone,
            do: assert(ref in reached, ref)
      end
    end

    test "the list of what is in the archive has the VM, Elixir, their packages and the modules, and a wrong list is found out",
         context do
      file = Path.join(context.out, "tidepool-#{@version}-linux-x86_64.cdx.json")
      bill = bill!(file)
      archive = Path.join(context.out, "tidepool-#{@version}-linux-x86_64.tar.gz")
      files = Built.run!("tar", ["-tzf", archive]) |> String.split("\n", trim: true)

      applications =
        for path <- files,
            [_all, name, version] <- Regex.scan(~r{/lib/(\w+)-([^/]+)/ebin/\1\.app$}, path),
            name != "tidepool" do
          assert %{"version" => ^version} = part(bill, "pkg:otp/#{name}@#{version}")
          name
        end

      assert Enum.sort(applications ++ ["erts"]) == Enum.sort(named(bill, "pkg:otp/"))
      licences = for path <- files, [_all, package] <- [Regex.run(~r{/licences/(.+)$}, path)], do: package
      assert "erlang-base" in licences
      assert licences -- named(bill, "pkg:deb/") == []
      modules = for path <- files, path =~ ~r/\.wasm$/, do: path |> String.split("/", parts: 2) |> List.last()
      assert modules != []
      assert Enum.sort(modules) == Enum.sort(named(bill, "file:"))

      for name <- ~w(sqlite rust-std mdbook),
          do: assert([_one] = Enum.filter(bill["components"], &(&1["name"] == name)))

      wrong = Path.join(tmp_folder!(), "wrong.json")

      for {right, otherwise} <- [
            {~s("MIT OR Apache-2.0"), ~s("MIT or so")},
            {~s("type": "library"), ~s("type": "thing")}
          ] do
        File.write!(wrong, String.replace(File.read!(file), right, otherwise))
        assert said!(wrong) != ""
      end
    end

    test "the images of all machines become one that is pushed", context do
      place = Path.join(tmp_folder!(), "registry")
      file = Path.join(context.out, "tidepool-#{@version}-image-x86_64.tar.gz")
      Built.run!("ops/image", ["--push", "oci:#{place}:#{@version}", file])
      [index] = json!(Path.join(place, "index.json"))["manifests"]
      assert index["mediaType"] =~ "image.index"
      "sha256:" <> digest = index["digest"]
      manifests = json!(Path.join(place, "blobs/sha256/#{digest}"))["manifests"]
      assert [%{"platform" => %{"architecture" => "amd64", "os" => "linux"}}] = manifests
    end

    if System.get_env("TIDEPOOL_LONG", "") != "" do
      test "the tool for aarch64 is one static program, and runs" do
        folder = tmp_folder!()
        Built.run!("bin/cli", ["--target", "aarch64-unknown-linux-musl", folder])
        tool = Path.join(folder, "tidepool-#{@version}-aarch64-unknown-linux-musl")
        assert {@machines["aarch64"], []} == {machine(tool), interpreters(tool)}
        assert Built.run!("qemu-aarch64-static", [tool, "--version"]) == "tidepool #{@version}\n"
      end
    end
  else
    # It stands for all of those above, so that closing lines tell of tests that were skipped.
    @tag skip: "there is no rustup, which brings Rust's library for #{@musl}"
    test "bin/release makes each file that a release is published as", do: :ok

    test "without rustup it is said what is missing for the tool of another machine" do
      assert {output, 1} =
               System.cmd(Path.expand("bin/cli"), ["--target", @musl, tmp_folder!()], stderr_to_stdout: true)

      assert output =~ "install Rust with rustup"
    end
  end

  test "a target that there is not is refused, and those that there are are named" do
    assert {output, 2} = System.cmd(Path.expand("bin/cli"), ["--target", "m68k", tmp_folder!()], stderr_to_stdout: true)
    assert output =~ @musl
  end

  test "sums of nothing, and signatures by a key that is not there or for no address, are refused" do
    folder = tmp_folder!()
    sums = &System.cmd(Path.expand("ops/sums"), [folder | &1], env: &2, stderr_to_stdout: true)
    home = [{"GNUPGHOME", folder}]
    assert {output, 1} = sums.([@version], [])
    assert output =~ "has nothing of version #{@version}"
    assert {output, 2} = sums.([@version, "maker"], [{"TIDEPOOL_DOWNLOADS", nil} | home])
    assert output =~ "set TIDEPOOL_DOWNLOADS"
    assert {output, 1} = sums.([@version, "maker"], [{"TIDEPOOL_DOWNLOADS", "https://example.org"} | home])
    assert output =~ "no secret key maker"
    # A variable of a workflow that nobody has set.
    assert {_said, 2} = sums.([@version, ""], home)
    assert {_said, 2} = System.cmd(Path.expand("bin/release"), [folder, ""], stderr_to_stdout: true)
    assert Path.wildcard(Path.join(folder, "*SUMS*")) == []
  end

  # In a root that has nothing else, and no variables.
  defp alone(root, arguments),
    do: Built.as_root("env", ["-i", "TIDEPOOL_TOOLCHAINS=/none", "/usr/sbin/chroot", root, "/tool" | arguments])

  defp machine(file) do
    <<0x7F, "ELF", 2, 1, _ident::binary-size(10), _type::16, machine::little-16, _rest::binary>> = File.read!(file)
    machine
  end

  # The program headers that name a loader.
  defp interpreters(file) do
    bytes = File.read!(file)

    <<_ident::binary-size(32), offset::little-64, _sections::64, _flags::32, _size::16, size::little-16,
      count::little-16, _rest::binary>> = bytes

    for index <- 0..(count - 1),
        <<kind::little-32, _rest::binary>> = binary_part(bytes, offset + index * size, size),
        kind == @interpreter,
        do: index
  end

  # As cargo's own plan of a build has it: what is linked into what is made, each with the checksum of Cargo.lock, if it is of a
  # registry. Macros and build scripts, and what these use, are not linked.
  defp linked!(arguments) do
    command = ["build", "--locked", "--release" | arguments] ++ ~w(--unit-graph -Z unstable-options)
    {graph, 0} = System.cmd("cargo", command, cd: "native", env: [{"RUSTC_BOOTSTRAP", "1"}])
    {:ok, %{"units" => units, "roots" => roots}} = Native.json_decode(graph)
    units = List.to_tuple(units)
    locked = locked()

    for index <- walk(roots, units, MapSet.new()), uniq: true do
      {name, version} = package(elem(units, index)["pkg_id"])
      {name, version, Map.fetch!(locked, {name, version})}
    end
  end

  defp walk(indices, units, seen) do
    Enum.reduce(indices, seen, fn index, seen ->
      unit = elem(units, index)

      if index in seen or hd(unit["target"]["kind"]) in ["proc-macro", "custom-build"],
        do: seen,
        else: walk(Enum.map(unit["dependencies"], & &1["index"]), units, MapSet.put(seen, index))
    end)
  end

  # `registry+…#name@version`, or `path+file:///…/name#version`.
  defp package(id) do
    [place, rest] = String.split(id, "#")

    case String.split(rest, "@") do
      [name, version] -> {name, version}
      [version] -> {Path.basename(place), version}
    end
  end

  defp locked do
    for text <- String.split(File.read!("native/Cargo.lock"), "[[package]]\n"),
        [_all, name, version] <- [Regex.run(~r/^name = "(.*)"\nversion = "(.*)"$/m, text)],
        into: %{} do
      checksum = Regex.run(~r/^checksum = "(.*)"$/m, text)
      {{name, version}, checksum && Enum.at(checksum, 1)}
    end
  end

  defp reach(refs, edges, seen) do
    Enum.reduce(refs, seen, fn ref, seen ->
      if ref in seen, do: seen, else: reach(Map.get(edges, ref, []), edges, MapSet.put(seen, ref))
    end)
  end

  defp part(bill, ref), do: Enum.find(bill["components"], &(&1["bom-ref"] == ref))

  defp named(bill, kind) do
    for %{"bom-ref" => ref, "name" => name} <- bill["components"], String.starts_with?(ref, kind), do: name
  end

  defp bill!(file) do
    assert said!(file) == ""
    json!(file)
  end

  defp said!(file), do: Built.run!(Built.python(), ["test/ship/ops/read.py", "bill", file])

  defp json!(file) do
    {:ok, value} = Native.json_decode(File.read!(file))
    value
  end

  defp sha256(file), do: :sha256 |> :crypto.hash(File.read!(file)) |> Base.encode16(case: :lower)
end
